"""Metrics follow Prometheus' conventions, and docs/operations.md lists exactly them."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from api.metrics import ApiMetrics
from service.errors import StorageUnavailable
from service.observability.metrics import ServiceMetrics
from service.records.jobs import JobStatus
from service.records.observations import CallEnd, JobStatistics, TurnEnd
from service.records.work import WorkKind
from tests.monitoring.conftest import Registered

ROW = re.compile(r"^\| `(icm_\w+)` \| (\w+) \| ([^|]*)\| ([^|]+) \|$", re.MULTILINE)
NAME = re.compile(r"icm_[a-z]+(_[a-z]+)*")
OTHER_UNITS = ("milliseconds", "minutes", "hours", "kilobytes", "megabytes", "percent", "ms")  # base units alone
LABELS = {"kind", "backend", "server", "outcome", "found", "method", "route", "status", "version"}


def test_the_documentation_describes_every_metric_and_no_other(
    registered: Mapping[str, Registered], root: Path
) -> None:
    told = {name: kind for name, kind, _, _ in ROW.findall((root / "docs/operations.md").read_text("utf-8"))}
    assert told == {each.documented_name: each.metric.type for each in registered.values()}


def test_the_documentation_names_the_labels_of_each(registered: Mapping[str, Registered], root: Path) -> None:
    told = {
        name: frozenset(re.findall(r"`(\w+)`", labels))
        for name, _, labels, _ in ROW.findall((root / "docs/operations.md").read_text("utf-8"))
    }
    assert told == {each.documented_name: each.labels for each in registered.values()}


def test_the_documentation_describes_every_outcome(root: Path) -> None:
    text = (root / "docs/operations.md").read_text("utf-8")
    for ends, name in ((CallEnd, "icm_backend_calls_total"), (TurnEnd, "icm_worker_turns_total")):
        [row] = [told for found, _, _, told in ROW.findall(text) if found == name]
        assert set(re.findall(r"`(\w+)`", row)) == {end.value for end in ends}


def test_names_are_lower_case_with_base_units_and_no_type_in_them(registered: Mapping[str, Registered]) -> None:
    for name, each in registered.items():
        assert NAME.fullmatch(name), name
        assert not name.endswith(("_total", "_count", "_sum", "_bucket")), name  # the format's own endings
        assert not set(name.split("_")) & {*OTHER_UNITS, "gauge", "counter", "histogram"}, name
        if each.metric.type == "histogram":
            assert name.endswith("_duration_seconds"), name
        assert each.metric.documentation.strip(), name
        assert not each.metric.documentation.endswith("."), name


def test_labels_are_those_whose_values_are_few(registered: Mapping[str, Registered]) -> None:
    assert {label for each in registered.values() for label in each.labels} == LABELS


def test_the_number_of_metrics_is_moderate(registered: Mapping[str, Registered]) -> None:
    assert 20 <= len(registered) <= 32


async def test_the_exposition_can_be_read_back() -> None:
    metrics = ApiMetrics(ServiceMetrics())

    async def job_statistics() -> Mapping[WorkKind, JobStatistics]:
        return {WorkKind.LABEL: JobStatistics(jobs={JobStatus.QUEUED: 2}), WorkKind.TRAIN: JobStatistics(crashes=3)}

    text = (await metrics.exposition(job_statistics)).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    [queued] = families["icm_jobs"].samples
    assert (queued.labels, queued.value) == ({"kind": "label", "status": "queued"}, 2.0)
    crashes = {sample.labels["kind"]: sample.value for sample in families["icm_work_item_crashes"].samples}
    assert crashes == {"label": 0.0, "train": 3.0}
    assert families["icm_database_up"].samples[0].value == 1.0


async def test_the_database_is_asked_no_more_often_than_every_few_seconds() -> None:
    metrics, asked = ApiMetrics(ServiceMetrics()), list[int]()

    async def job_statistics() -> Mapping[WorkKind, JobStatistics]:
        asked.append(1)
        return {}

    for _ in range(10):
        await metrics.exposition(job_statistics)
    assert asked == [1]


@pytest.mark.parametrize("error", [StorageUnavailable("away"), TimeoutError()], ids=["away", "slow"])
async def test_without_the_database_other_metrics_are_served_and_no_stale_ones_about_jobs(error: Exception) -> None:
    metrics = ApiMetrics(ServiceMetrics())

    async def job_statistics() -> Mapping[WorkKind, JobStatistics]:
        raise error

    text = (await metrics.exposition(job_statistics)).decode()
    assert "icm_database_up 0.0" in text
    assert "icm_build_info" in text
    assert "icm_jobs{" not in text
    assert "icm_queue_oldest" not in text
