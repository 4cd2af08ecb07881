"""The report over HTTP, as JSON and as a page, with the facts a search may hand in."""

import base64
import hashlib
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from typing import Any

import asyncpg
import orjson
import pytest

from service.identifiers import JobId
from service.records.access import LOCAL_CALLER
from service.storage.engine import driver_address
from tests.support.running.harness import CONFIG, Service, pairs
from tests.support.stores import ScratchStore

HOSTILE = '<script src="http://evil/x.js">alert(1)</script>'
FACTS: dict[str, Any] = {  # as under the paper's utility
    "gain_nats": None,
    "entropy_nats": None,
    "predictability": -0.2,
    "shuffled_predictability": -0.8,
    "shuffled_utility": -40.0,
    "restart_utilities": [-1.0, -9.0, -2.0],
    "restart_agreement": 0.9,
    "demonstrations_dropped": 3,
    "baselines": {"zero_shot": [[row, 0] for row in range(40)], "few_shot_random": [[0, 1], [1, 0]]},
}
LOADING = {"src", "href", "data", "action", "formaction", "poster", "srcset", "xlink:href", "background", "ping"}


@pytest.fixture(scope="module")
def service(shared_service: Service) -> Service:
    """One service for all tests of this module, which do not disturb one another."""
    return shared_service


@pytest.fixture(scope="module")
async def labelled(service: Service) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """A job of 40 rows that has succeeded, and the facts that its search has stored."""
    job = await service.labelled(pairs(40))
    async with service.store.project_unit(LOCAL_CALLER) as unit:
        [facts] = (await unit.jobs.summaries(JobId(job["id"]))).values()
    assert facts is not None
    return job, facts


@pytest.fixture
async def job(service: Service, labelled: tuple[dict[str, Any], Mapping[str, Any]]) -> dict[str, Any]:
    """The same job for every test, with its own facts alone."""
    job, facts = labelled
    await store_summary(service, job["id"], facts)
    return job


class Page(HTMLParser):
    """What a browser would find in the page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


async def tell(service: Service, job_id: str, facts: Mapping[str, Any]) -> None:
    """Add facts to those that the anchor's search has stored."""
    async with service.store.project_unit(LOCAL_CALLER) as unit:
        [summary, *_] = (await unit.jobs.summaries(JobId(job_id))).values()
    await store_summary(service, job_id, {**(summary or {}), **facts})


async def store_summary(service: Service, job_id: str, summary: Mapping[str, Any] | None) -> None:
    assert isinstance(service.store, ScratchStore)
    connection = await asyncpg.connect(driver_address(service.store.url))
    said = None if summary is None else orjson.dumps(summary).decode()
    await connection.execute("UPDATE shards SET summary = $1 WHERE job_id = $2 AND shard = 0", said, job_id)
    await connection.close()


async def page(service: Service, job_id: str, **headers: str) -> str:
    answer = await service.client.get(f"/v1/jobs/{job_id}/report?format=html", headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    return answer.text


async def test_the_reports_gains_are_in_nats_and_beside_baselines(service: Service, job: dict[str, Any]) -> None:
    await tell(service, job["id"], FACTS)
    found = await service.get(job["id"], "/report")
    assert found["coherence"]["gain_nats"] == pytest.approx(0.6)
    assert found["coherence"]["gain_share"] == pytest.approx(0.75)
    assert found["coherence"]["restart_agreement"] == 0.9
    assert found["search"]["demonstrations_dropped"] == 3
    zero_shot, few_shot = found["baselines"]
    assert (zero_shot["name"], zero_shot["rows"], zero_shot["gold_rows"], zero_shot["accuracy"]) == (
        "zero_shot",
        40,
        40,
        0.5,
    )
    assert zero_shot["agreement"] == found["labels"][0]["share"]
    assert zero_shot["job_accuracy"] == found["accuracy"]
    assert few_shot["rows"] == 2


async def test_a_job_that_is_repeated_costs_nothing_and_the_report_says_why() -> None:
    service = Service(ScratchStore())
    jobs = [await service.labelled(pairs(40)) for _ in range(2)]
    first, again = [(await service.get(job["id"], "/report")) for job in jobs]
    assert [again["cost"][name] for name in ("prompts", "tokens_sent", "tokens_computed")] == [0, 0, 0]
    asked = first["cost"]["prompts"] + first["cost"]["prompts_remembered"]
    assert again["cost"]["prompts_remembered"] == asked > first["cost"]["prompts_remembered"]
    assert again["labels"] == first["labels"]
    assert again["search"]["utility"] == first["search"]["utility"]
    assert "prompts answered from memory" in await page(service, jobs[1]["id"])


async def test_confidence_calibration_and_shortcuts_are_in_the_report(service: Service, job: dict[str, Any]) -> None:
    found = await service.get(job["id"], "/report")
    assert sum(part["rows"] for part in found["confidence"]) == 40
    assert sum(part["rows"] for part in found["calibration"]["bins"]) == 40
    assert {shortcut["kind"] for shortcut in found["shortcuts"]} == {"length", "position", "column"}
    assert {shortcut["column"] for shortcut in found["shortcuts"]} == {None, "a", "b"}
    assert found["unsure"] == 40 - found["statuses"]["labeled"]


async def test_gold_changes_only_the_figures_about_gold(service: Service, job: dict[str, Any]) -> None:
    told = ("verdict", "reasons", "coherence", "shortcuts", "labels", "confidence")
    wrong = await service.labelled([{**row, "gold": "no"} for row in pairs(40)])
    found = [await service.get(each["id"], "/report") for each in (job, wrong)]
    assert [found[0][name] for name in told] == [found[1][name] for name in told]
    assert found[0]["accuracy"] != found[1]["accuracy"]


async def test_the_format_is_the_one_asked_for_else_the_one_accepted(service: Service, job: dict[str, Any]) -> None:
    page, json = "text/html; charset=utf-8", "application/json"
    for query, accept, kind in (
        ("", "*/*", json),
        ("", "text/html,application/xhtml+xml,*/*;q=0.8", page),
        ("", "application/json, text/html", json),
        ("?format=json", "text/html", json),
        ("?format=html", "application/json", page),
    ):
        answer = await service.client.get(job["links"]["report"] + query, headers={"Accept": accept})
        told = (answer.status_code, answer.headers["Content-Type"], answer.headers["Vary"])
        assert told == (200, kind, "Accept"), (query, accept)
    assert (await service.client.get(job["links"]["report"] + "?format=pdf")).status_code == 422


async def test_a_page_may_load_and_run_nothing(service: Service, job: dict[str, Any]) -> None:
    answer = await service.client.get(f"/v1/jobs/{job['id']}/report?format=html")
    [style] = re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert answer.headers["Content-Security-Policy"] == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    assert not [value for name, value in Page(answer.text).attributes if name == "style"]


async def hostile_page(service: Service) -> str:
    rows = [{"a": row["a"], "b": row["b"], HOSTILE: f"{HOSTILE}{n % 2}"} for n, row in enumerate(pairs(40))]
    task = {"template": "{a} {b}", "labels": [HOSTILE, '"><img src=x onerror=alert(1)>']}
    job = await service.labelled(rows, task=task, name=f"</title>{HOSTILE}")
    await tell(service, job["id"], {**FACTS, "baselines": {HOSTILE: [[0, 1]]}})
    return await page(service, job["id"])


async def test_text_of_users_stays_text_and_a_page_refers_to_nothing_outside_itself(service: Service) -> None:
    text = await hostile_page(service)
    found = Page(text)
    assert {"script", "img", "link", "iframe", "object", "embed", "base", "a"}.isdisjoint(found.tags)
    assert not [name for name, _ in found.attributes if name.startswith("on") or name in LOADING]
    assert any(HOSTILE in text for text in found.texts)
    style = "".join(re.findall(r"<style>(.*?)</style>", text, re.DOTALL))
    assert "@import" not in style
    assert "url(" not in style


async def test_a_page_is_well_formed_and_shows_every_plot(service: Service, job: dict[str, Any]) -> None:
    await tell(service, job["id"], FACTS)
    found = Page(await page(service, job["id"]))
    assert found.open == []
    text = " ".join(" ".join(found.texts).split())
    for heading in ("Labels", "Confidence", "Utility among rivals", "Shortcuts", "Baselines", "Calibration", "Cost"):
        assert heading in text
    labels = [value for name, value in found.attributes if name == "aria-label"]
    assert {"Histogram of the confidence", "Accuracy against confidence"} <= set(labels)
    assert "restart 3" in text


GAIN: dict[str, Any] = {
    "gain_nats": 0.3,
    "entropy_nats": 0.6,
    "impression_utility": 4.25,
    "impression_confirmed": False,
    "known_rows": 16,
    "known_right": 14,
}


async def test_evidence_of_known_rows_and_the_first_impression_is_in_the_report(
    service: Service, job: dict[str, Any]
) -> None:
    await tell(service, job["id"], {**GAIN, "restart_agreement": None})
    found = await service.get(job["id"], "/report")
    assert (found["search"]["impression_utility"], found["search"]["impression_confirmed"]) == (4.25, False)
    assert (found["search"]["known_rows"], found["search"]["known_right"]) == (16, 14)
    accuracy = found["known_accuracy"]
    assert (accuracy["hits"], accuracy["rows"], accuracy["share"]) == (14, 16, 0.875)
    assert (round(accuracy["lower"], 2), round(accuracy["upper"], 2)) == (0.64, 0.97)
    text = " ".join(" ".join(Page(await page(service, job["id"])).texts).split())
    assert "accuracy on the known rows when they are left out: 14 of 16, 0.64 to 0.97" in text
    assert "nats per row of information gain (50 % of the label entropy)" in text
    assert "demonstrations confirm the first impression no" in text
    assert "Probability that a row's label is right" in text
    assert "independent restarts with the best one" not in text  # a search with known rows starts once


async def test_labellings_are_ranked_by_information_gain(service: Service, job: dict[str, Any]) -> None:
    said = {"rows": 40, "demonstrations": [8, 32], "agreement": 0.75, "kappa": 0.5}
    measured = [
        {"name": "found", "gain_nats": 0.25, "conflicts": 0, **said},
        {"name": "first_impression", "gain_nats": 0.375, "conflicts": 5, **said},
    ]
    await tell(service, job["id"], {**GAIN, "labellings": measured, "baselines": {"zero_shot": [[0, 0], [1, 1]]}})
    rows = (await service.get(job["id"], "/report"))["ranking"]
    assert [(row["name"], row["gain_nats"]) for row in rows] == [
        ("first_impression", 0.375),
        ("found", 0.25),
        ("zero_shot", None),
    ]
    assert (rows[0]["conflicts"], rows[0]["conflict_nats"]) == (5, 0.1)
    text = " ".join(" ".join(Page(await page(service, job["id"])).texts).split())
    assert "the zero-shot labels, calibrated (first impression) 0.375 5 (\N{MINUS SIGN}0.100) 40 8, 32 75 %" in text
    assert "the zero-shot labels, not calibrated not measured \N{EN DASH} 2 none" in text


async def test_a_page_of_a_job_without_measured_gains_has_no_ranking(service: Service, job: dict[str, Any]) -> None:
    await tell(service, job["id"], {**FACTS, "labellings": []})
    assert "Labellings by information gain" not in await page(service, job["id"])


async def test_a_report_without_known_rows_estimates_no_accuracy(service: Service, job: dict[str, Any]) -> None:
    assert (await service.get(job["id"], "/report"))["known_accuracy"] is None
    assert "known rows" not in await page(service, job["id"])


async def test_the_share_of_each_label_in_the_population_has_an_interval(service: Service, job: dict[str, Any]) -> None:
    yes, no = (await service.get(job["id"], "/report"))["labels"]
    for label in (yes, no):
        assert label["population"]["rows"] == 40
        assert label["population"]["lower"] < label["population"]["share"] < label["population"]["upper"]
    assert yes["population"]["expected_rows"] + no["population"]["expected_rows"] == pytest.approx(40)
    text = " ".join(" ".join(Page(await page(service, job["id"])).texts).split())
    ends = [f"{100 * yes['population'][end]:.1f} %" for end in ("share", "lower", "upper")]
    assert "({}, {} to {})".format(*ends) in text


async def test_shares_in_the_population_are_null_before_a_shard_ends(service: Service) -> None:
    job = await service.post()
    assert [label["population"] for label in (await service.get(job["id"], "/report"))["labels"]] == [None, None]
    assert "95 % interval" not in await page(service, job["id"])


async def test_a_queued_job_has_a_report_page(service: Service) -> None:
    text = await page(service, (await service.post())["id"])
    assert "no row has a label" in text
    assert "No row has a confidence yet" in text


async def test_a_page_of_a_job_without_gold_says_nothing_of_gold(service: Service) -> None:
    rows = [{"a": row["a"], "b": row["b"]} for row in pairs(40)]
    job = await service.labelled(rows, task={"template": "{a} {b}", "labels": ["Yes", "No"]})
    text = await page(service, job["id"])
    assert "Calibration" not in text
    assert "accuracy" not in re.sub(r"balanced accuracy", "", text)


async def test_gold_that_is_no_label_is_shown_in_report_page_and_job_and_left_out_of_the_accuracy(
    service: Service, job: dict[str, Any]
) -> None:
    plain = await service.get(job["id"], "/report")
    rows = [{**row, "gold": {"yes": "j<a", "no": "no"}[row["gold"]]} for row in pairs(40)]
    odd = await service.labelled(rows)
    found = await service.get(odd["id"], "/report")
    assert (found["gold_rows"], found["gold_rows_unmatched"], found["gold_rows_labeled"]) == (40, 20, 20)
    assert found["gold_values_unmatched"] == [{"value": "j<a", "rows": 20}]
    assert found["calibration"]["rows"] == 20
    [told] = [warning for warning in odd["warnings"] if "gold" in warning]
    assert told in found["warnings"]
    assert "20 rows with gold, without 20 whose gold is none of the labels" in await page(service, odd["id"])
    task = {**CONFIG["task"], "gold_values": {"j<a": "Yes"}}
    mapped = await service.get((await service.labelled(rows, task=task))["id"], "/report")
    assert (mapped["gold_rows_unmatched"], mapped["accuracy"]) == (0, plain["accuracy"])
    assert mapped["calibration"] == plain["calibration"]


async def test_if_no_gold_is_a_label_there_is_a_note_and_no_accuracy(service: Service) -> None:
    job = await service.labelled([{**row, "gold": "ja"} for row in pairs(40)])
    found = await service.get(job["id"], "/report")
    assert (found["accuracy"], found["calibration"], found["gold_rows_unmatched"]) == (None, None, 40)
    assert "without 40 whose gold is none of the labels" in await page(service, job["id"])


async def test_a_report_of_an_unknown_job_is_not_found_as_a_page_either(service: Service) -> None:
    answer = await service.client.get("/v1/jobs/job_0/report?format=html")
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/problem+json")


async def test_summaries_of_an_earlier_release_are_read_from_the_log(service: Service) -> None:
    job = await service.labelled(pairs(8))
    now = (await service.client.get(f"/v1/jobs/{job['id']}/report")).json()
    await store_summary(service, job["id"], None)
    assert (await service.client.get(f"/v1/jobs/{job['id']}/report")).json() == now
