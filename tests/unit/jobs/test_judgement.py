from dataclasses import replace
from datetime import UTC, datetime

import pytest

from service.entities import Job, JobStatus, LabelStatus, Progress
from service.identifiers import DatasetId, JobId
from service.jobs.judgement import LabelShare, SearchFacts, Verdict, judge
from tests.unit.jobs.sources import config

JOB = Job(
    id=JobId("job_1"),
    dataset_id=DatasetId("ds_1"),
    config=config(),
    status=JobStatus.SUCCEEDED,
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
    progress=Progress(rows=100, labeled=100),
)
NO_FACTS = SearchFacts(
    utility=None,
    anchor_rows=None,
    anchor_utility=None,
    complement_utility=None,
    polarity_nats=None,
    restart_utilities=[],
    stop_reasons={},
)
SURE = {LabelStatus.LABELED: 100}


def shares(*rows: int) -> list[LabelShare]:
    total = max(1, sum(rows))
    return [LabelShare(label=f"label {n}", rows=count, share=count / total) for n, count in enumerate(rows)]


def judged(
    *rows: int, job: Job = JOB, statuses: dict[LabelStatus, int] | None = None, search: SearchFacts = NO_FACTS
) -> dict[str, Verdict]:
    return {reason.code: reason.verdict for reason in judge(job, shares(*rows), statuses or SURE, search)}


def test_even_labels_of_a_finished_job_give_no_reason_to_doubt() -> None:
    assert judged(50, 50) == {}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ((100, 0), {"class_collapse": Verdict.DO_NOT_USE}),
        ((0, 100, 0), {"class_collapse": Verdict.DO_NOT_USE}),
        ((95, 5), {"imbalance": Verdict.SUSPICIOUS}),
        ((94, 6), {}),
        ((0, 0), {"no_labels": Verdict.DO_NOT_USE}),
        ((4, 0), {}),
    ],
)
def test_one_label_for_all_is_not_to_be_used(rows: tuple[int, ...], expected: dict[str, Verdict]) -> None:
    assert judged(*rows) == expected


@pytest.mark.parametrize(
    ("sure", "expected"), [(81, {}), (80, {"uncertain": Verdict.SUSPICIOUS}), (50, {"uncertain": Verdict.DO_NOT_USE})]
)
def test_rows_without_a_sure_label_speak_against_the_labels(sure: int, expected: dict[str, Verdict]) -> None:
    assert judged(50, 50, statuses={LabelStatus.LABELED: sure, LabelStatus.UNCERTAIN: 100 - sure}) == expected


@pytest.mark.parametrize(
    ("conflicts", "expected"),
    [(0, {}), (1, {"conflicts": Verdict.SUSPICIOUS}), (6, {"conflicts": Verdict.DO_NOT_USE})],
)
def test_broken_relations_speak_against_the_labels(conflicts: int, expected: dict[str, Verdict]) -> None:
    job = replace(JOB, progress=replace(JOB.progress, inconsistencies=conflicts))
    assert judged(50, 50, job=job) == expected


@pytest.mark.parametrize(
    ("normalization", "complement", "expected"),
    [
        ("mean", -11.1, {}),  # 50 times 0.022 nats per row
        ("mean", -10.9, {"polarity": Verdict.SUSPICIOUS}),
        ("mean", -9.0, {"polarity": Verdict.SUSPICIOUS}),
        ("sum", -11.1, {"polarity": Verdict.SUSPICIOUS}),
        ("sum", -10.0 - 50 * 100 * 0.021, {}),
    ],
)
def test_labels_that_could_as_well_be_swapped_are_suspicious(
    normalization: str, complement: float, expected: dict[str, Verdict]
) -> None:
    job = replace(JOB, config=config(search={"normalization": normalization, "alpha": 50}))
    search = replace(NO_FACTS, anchor_rows=100, anchor_utility=-10.0, complement_utility=complement)
    assert judged(50, 50, job=job, search=search) == expected


@pytest.mark.parametrize(("nats", "codes"), [(1.4, {"polarity"}), (1.6, set())])
def test_a_polarity_that_short_sequences_settle_is_believed(nats: float, codes: set[str]) -> None:
    search = replace(NO_FACTS, anchor_rows=100, anchor_utility=-10.0, complement_utility=-10.0, polarity_nats=nats)
    assert judged(50, 50, search=search).keys() == codes


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (JobStatus.RUNNING, {"unfinished": Verdict.SUSPICIOUS}),
        (JobStatus.CANCELLED, {"unfinished": Verdict.SUSPICIOUS}),
        (JobStatus.FAILED, {"failed": Verdict.DO_NOT_USE}),
    ],
)
def test_labels_of_an_unfinished_job_are_not_vouched_for(status: JobStatus, expected: dict[str, Verdict]) -> None:
    assert judged(50, 50, job=replace(JOB, status=status)) == expected
