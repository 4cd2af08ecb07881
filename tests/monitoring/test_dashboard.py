"""The dashboard and the alert rules use metrics and labels that exist, and describe what they show."""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.records.jobs import JobStatus
from service.records.observations import TurnEnd
from service.records.work import JOB_KINDS
from tests.monitoring.conftest import Registered

ROWS = ["Is it healthy?", "How far is it?", "What does it cost?"]
UNITS = {"short", "s", "reqps", "ops", "rowsps", "percentunit", "bytes"}
OF_PROMETHEUS = {"up", "process_resident_memory_bytes"}
TARGET_LABELS = {"job", "instance", "le"}  # which Prometheus adds, and the buckets of histograms
LANGUAGE = {
    *("sum", "min", "max", "avg", "count", "rate", "increase", "histogram_quantile", "absent", "vector"),
    *("by", "on", "and", "or"),
}
VALUES: Mapping[str, Collection[str]] = {"status": set(JobStatus), "outcome": set(TurnEnd), "kind": set(JOB_KINDS)}
TEXT = re.compile(r'"[^"]*"')
RANGE = re.compile(r"\[[^\]]*\]")
WORD = re.compile(r"[a-zA-Z_:][\w:]*")
SELECTOR = re.compile(r"(?P<name>[a-zA-Z_:][\w:]*)\{(?P<matchers>[^}]*)\}")
MATCHER = re.compile(r'(\w+)(?:=~|!~|!=|=)"([^"]*)"')
GROUPING = re.compile(r"\b(?:by|on) \(([^)]*)\)")
Document = Mapping[str, Any]


@pytest.fixture
def dashboard(root: Path) -> Document:
    loaded: Document = json.loads((root / "monitoring/grafana/icm.json").read_text("utf-8"))
    return loaded


@pytest.fixture
def alerts(root: Path) -> list[Document]:
    loaded = yaml.safe_load((root / "monitoring/alerts.yml").read_text("utf-8"))
    return [rule for group in loaded["groups"] for rule in group["rules"]]


@pytest.fixture
def queries(dashboard: Document, alerts: list[Document]) -> list[str]:
    """Every expression there is."""
    shown = [target["expr"] for panel in panels(dashboard) for target in panel["targets"]]
    return [*shown, *(rule["expr"] for rule in alerts)]


def test_every_query_names_metrics_that_exist(queries: list[str], registered: Mapping[str, Registered]) -> None:
    known = {series for each in registered.values() for series in each.series} | OF_PROMETHEUS
    for query in queries:
        asked = names(query)
        assert asked, query
        assert asked <= known, query


def test_the_names_in_a_query_are_found() -> None:
    query = 'sum by (le, backend) (rate(icm_a_total{outcome=~"b|c"}[5m])) > 0 and on () (max(d) or vector(0)) == 1'
    assert names(query) == {"icm_a_total", "d"}


def test_every_query_names_labels_that_its_metrics_have(
    queries: list[str], registered: Mapping[str, Registered]
) -> None:
    labels = {series: each.labels for each in registered.values() for series in each.series}
    for query in queries:
        for found in SELECTOR.finditer(query):
            matched = {label for label, _ in MATCHER.findall(found["matchers"])}
            assert matched, query
            assert matched <= labels.get(found["name"], frozenset()) | TARGET_LABELS, query
        grouped = {label for group in GROUPING.findall(query) for label in group.replace(" ", "").split(",") if label}
        assert grouped <= {label for name in names(query) for label in labels.get(name, ())} | TARGET_LABELS, query


def test_every_status_and_outcome_that_is_asked_for_exists(queries: list[str]) -> None:
    asked = [pair for query in queries for found in SELECTOR.finditer(query) for pair in _matched(found)]
    assert len(asked) > 3
    for label, value in asked:
        assert value in VALUES[label], (label, value)


def test_brackets_of_every_query_are_closed(queries: list[str]) -> None:
    for query in queries:
        bare = TEXT.sub("", query)
        assert all(bare.count(one) == bare.count(other) for one, other in ("()", "[]", "{}")), query


def test_every_metric_but_the_release_is_on_the_dashboard_or_alerts(
    queries: list[str], registered: Mapping[str, Registered]
) -> None:
    asked = {name for query in queries for name in names(query)}
    unused = {name for name, each in registered.items() if not each.series & asked}
    assert unused == {"icm_build_info"}


def test_the_dashboard_answers_three_questions_in_this_order(dashboard: Document) -> None:
    assert [panel["title"] for panel in dashboard["panels"] if panel["type"] == "row"] == ROWS
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_every_panel_says_what_it_shows_and_in_which_unit(dashboard: Document) -> None:
    for panel in panels(dashboard):
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert all(target["legendFormat"] for target in panel["targets"])


def test_panels_lie_beside_and_below_each_other_and_not_on_one_another(dashboard: Document) -> None:
    taken = set[tuple[int, int]]()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_every_alert_says_what_is_wrong_how_bad_it_is_and_where_to_look(alerts: list[Document], root: Path) -> None:
    text = (root / "docs/operations.md").read_text("utf-8")
    assert len({rule["alert"] for rule in alerts}) == len(alerts)
    for rule in alerts:
        assert f"`{rule['alert']}`" in text
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"].endswith(".")


def panels(dashboard: Document) -> Iterator[Document]:
    """All panels except the headings of rows."""
    yield from (panel for panel in dashboard["panels"] if panel["type"] != "row")


def names(query: str) -> set[str]:
    """The metrics that a query asks for: its words, once texts, matchers, groupings and PromQL's own are gone."""
    bare = GROUPING.sub(" ", RANGE.sub("", re.sub(r"\{[^}]*\}", "", TEXT.sub('""', query))))
    return set(WORD.findall(bare)) - LANGUAGE


def _matched(found: re.Match[str]) -> Iterator[tuple[str, str]]:
    """Labels of ours with the values asked for; the status of a request is a number."""
    for label, value in MATCHER.findall(found["matchers"]):
        if label in VALUES and not found["name"].startswith("icm_http"):
            yield from ((label, one) for one in value.split("|"))
