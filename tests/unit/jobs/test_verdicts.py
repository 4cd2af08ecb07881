import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from service.identifiers import DatasetId, JobId
from service.jobs.reporting import verdicts
from service.jobs.reporting.coherence import Coherence, coherence
from service.jobs.reporting.facts import PolarityTrial, SearchFacts, Summaries
from service.jobs.reporting.ranking import RankedLabelling
from service.jobs.reporting.shortcuts import FeatureKind, Shortcut
from service.jobs.reporting.tally import LabelShare
from service.jobs.reporting.verdicts import Evidence, Verdict, judge, name_of, worst
from service.records.jobs import Job, JobStatus, Progress
from tests.support.sources import config

JOB = Job(
    id=JobId("job_1"),
    dataset_id=DatasetId("ds_1"),
    config=config(),
    status=JobStatus.SUCCEEDED,
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
    progress=Progress(rows=100, labeled=100),
)
NO_FACTS = SearchFacts(utility=None)
SAMPLE = SearchFacts(utility=None, sample_rows=100, sample_utility=-10.0)
UNKNOWN = Coherence(gain_nats=None, gain_share=None, polarity_nats=None, restart_agreement=None)
ROOT = Path(__file__).parents[3]


def shares(*rows: int) -> list[LabelShare]:
    total = max(1, sum(rows))
    return [LabelShare(label=f"label {n}", rows=count, share=count / total) for n, count in enumerate(rows)]


def judged(
    *rows: int,
    job: Job = JOB,
    unsure: int = 0,
    search: SearchFacts = NO_FACTS,
    found: Coherence | None = None,
    shortcuts: Sequence[Shortcut] = (),
) -> dict[str, Verdict]:
    evidence = Evidence(
        job=job,
        shares=shares(*(rows or (50, 50))),
        unsure=unsure,
        search=search,
        coherence=found or coherence(job.config.search, search),
        shortcuts=shortcuts,
    )
    return {reason.code: reason.verdict for reason in judge(evidence)}


def shortcut(above: float, *, is_claim: bool = False) -> Shortcut:
    return Shortcut(
        kind=FeatureKind.COLUMN, column="year", balanced_accuracy=0.9, above_majority=above, is_claim=is_claim
    )


def test_even_labels_of_a_finished_job_get_no_warning() -> None:
    assert judged(50, 50) == {}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ((100, 0), {"class_collapse": Verdict.DO_NOT_USE}),
        ((95, 5), {"imbalance": Verdict.SUSPICIOUS}),
        ((94, 6), {}),
        ((0, 0), {"no_labels": Verdict.DO_NOT_USE}),
        ((4, 4), {}),
    ],
)
def test_one_label_for_all_is_not_to_be_used(rows: tuple[int, ...], expected: dict[str, Verdict]) -> None:
    assert judged(*rows) == expected


@pytest.mark.parametrize("rows", [(1, 0), (4, 0), (3, 4), (2, 2, 3)])
def test_fewer_than_eight_rows_are_suspicious(rows: tuple[int, ...]) -> None:
    small = replace(JOB, progress=Progress(rows=sum(rows), labeled=sum(rows)))
    assert judged(*rows, job=small) == {"too_few_rows": Verdict.SUSPICIOUS}
    assert judged(*rows) == {"too_few_rows": Verdict.SUSPICIOUS}


def test_a_job_under_way_has_too_few_rows_only_if_it_has_no_more() -> None:
    running = replace(JOB, status=JobStatus.RUNNING)
    assert judged(2, 2, job=running) == {"unfinished": Verdict.SUSPICIOUS}
    assert "too_few_rows" in judged(2, 2, job=replace(running, progress=Progress(rows=5, labeled=4)))


@pytest.mark.parametrize(
    ("unsure", "expected"),
    [(19, {}), (20, {"uncertain": Verdict.SUSPICIOUS}), (50, {"uncertain": Verdict.DO_NOT_USE})],
)
def test_many_uncertain_rows_get_a_warning(unsure: int, expected: dict[str, Verdict]) -> None:
    assert judged(unsure=unsure) == expected


@pytest.mark.parametrize(
    ("accuracy", "trainings", "codes"),
    [(0.84, None, {"expected_errors"}), (0.86, None, set()), (None, None, set()), (0.5, 4, set())],
    ids=["one in six", "one in eight", "nothing expected", "found by trainings"],
)
def test_labels_of_which_many_are_expected_to_be_wrong_are_suspicious(
    accuracy: float | None, trainings: int | None, codes: set[str]
) -> None:
    search = replace(NO_FACTS, expected_accuracy=accuracy, trainings=trainings)
    assert judged(search=search) == dict.fromkeys(codes, Verdict.SUSPICIOUS)


@pytest.mark.parametrize(
    ("conflicts", "expected"),
    [(0, {}), (1, {"conflicts": Verdict.SUSPICIOUS}), (6, {"conflicts": Verdict.DO_NOT_USE})],
)
def test_broken_relations_get_a_warning(conflicts: int, expected: dict[str, Verdict]) -> None:
    assert judged(job=replace(JOB, progress=replace(JOB.progress, inconsistencies=conflicts))) == expected


@pytest.mark.parametrize(
    ("normalization", "complement", "expected"),
    [
        ("mean", -11.1, {}),  # 50 times 0.022 nats per row
        ("mean", -10.9, {"polarity": Verdict.SUSPICIOUS}),
        ("sum", -11.1, {"polarity": Verdict.SUSPICIOUS}),
        ("sum", -10.0 - 50 * 100 * 0.021, {}),
    ],
)
def test_labels_that_could_as_well_be_swapped_are_suspicious(
    normalization: str, complement: float, expected: dict[str, Verdict]
) -> None:
    job = replace(JOB, config=config(search={"normalization": normalization, "alpha": 50}))
    assert judged(job=job, search=replace(SAMPLE, complement_utility=complement)) == expected


@pytest.mark.parametrize(
    ("found", "permuted", "codes"),
    [(0.5, 1.2, set()), (0.8, 0.8, set()), (1.0, 0.75, set()), (1.2, 0.5, {"polarity_trial"})],
    ids=["learned faster", "learned alike", "within three errors", "learned more slowly"],
)
def test_labels_that_are_learned_faster_when_swapped_may_be_inverted(
    found: float, permuted: float, codes: set[str]
) -> None:
    trial = PolarityTrial(rows=200, found_nats=found, permuted_nats=permuted, error_nats=0.1)
    assert judged(search=replace(NO_FACTS, polarity_trial=trial)) == dict.fromkeys(codes, Verdict.SUSPICIOUS)


@pytest.mark.parametrize(("nats", "codes"), [(1.4, {"polarity"}), (1.6, set())])
def test_a_polarity_that_short_sequences_settle_is_believed(nats: float, codes: set[str]) -> None:
    assert judged(search=replace(SAMPLE, complement_utility=-10.0, polarity_nats=nats)).keys() == codes


@pytest.mark.parametrize(
    ("rows", "gain", "share", "expected"),
    [
        (1000, 0.3, 0.31, {}),
        (1000, 0.2, 0.29, {"weak_concept": Verdict.SUSPICIOUS}),
        (1000, 0.1, 0.09, {"no_concept": Verdict.DO_NOT_USE}),
        (64, 0.4, 0.34, {"weak_concept": Verdict.SUSPICIOUS}),  # two standard errors of a sample are 0.35
        (64, 0.4, 0.17, {"no_concept": Verdict.DO_NOT_USE}),
        (32, 0.4, 0.51, {}),
        (32, 0.4, 0.49, {"weak_concept": Verdict.SUSPICIOUS}),  # in so few rows half the cost may be chance
        (32, 0.4, 0.24, {"no_concept": Verdict.DO_NOT_USE}),
        (7, 0.0, 0.0, {}),
        (1000, 0.02, None, {}),
        (1000, 0.0, None, {"no_concept": Verdict.DO_NOT_USE}),
    ],
)
def test_labels_that_gain_little_over_shuffled_ones_mean_little(
    rows: int, gain: float, share: float | None, expected: dict[str, Verdict]
) -> None:
    found = replace(UNKNOWN, gain_nats=gain, gain_share=share)
    assert judged(search=replace(SAMPLE, sample_rows=rows), found=found) == expected


@pytest.mark.parametrize(
    ("gain", "reasons", "told"),
    [
        (
            0.02,
            {"not_borne_out": 1},
            (
                "demonstrations do not confirm the first impression: 0.020 nats per row beyond chance; "
                "the labels are those of the calibrated first impression"
            ),
        ),
        (0.02, {"converged": 1}, "the labels gain only 0.020 nats per row over their shares"),
        (
            None,
            {"converged": 1},
            "the labels are only 0.020 nats per row more coherent than the same labels dealt out at random",
        ),
    ],
)
def test_labels_without_a_concept_get_a_warning_with_the_evidence(
    gain: float | None, reasons: dict[str, int], told: str
) -> None:
    search = replace(SAMPLE, gain_nats=gain, entropy_nats=0.69, stop_reasons=reasons)
    found = replace(UNKNOWN, gain_nats=0.02, gain_share=0.03)
    [reason] = judge(Evidence(job=JOB, shares=shares(50, 50), unsure=0, search=search, coherence=found))
    assert (reason.code, reason.message) == ("no_concept", told)


def ranked(name: str, gain: float | None, *, kappa: float | None = None, rows: int = 64) -> RankedLabelling:
    return RankedLabelling(
        name=name,
        gain_nats=gain,
        conflicts=None,
        conflict_nats=None,
        rows=rows,
        demonstrations=[] if gain is None else [8, 32],
        agreement=None if kappa is None else (1 + kappa) / 2,
        kappa=kappa,
    )


def little(*ranking: RankedLabelling, stop: str = "converged") -> str:
    """Verdicts about labels with almost no information."""
    search = replace(SAMPLE, gain_nats=0.02, entropy_nats=0.69, stop_reasons={stop: 1})
    found = replace(UNKNOWN, gain_nats=0.02, gain_share=0.03)
    evidence = Evidence(
        job=JOB,
        shares=shares(50, 50),
        unsure=0,
        search=search,
        coherence=found,
        ranking=(ranked("found", 0.02), *ranking),
    )
    [reason] = judge(evidence)
    assert (reason.code, reason.verdict) == ("no_concept", Verdict.DO_NOT_USE)
    return reason.message


KNOWS = "the language model does distinguish the rows"


@pytest.mark.parametrize(
    ("other", "stop", "told"),
    [
        (
            ranked("start_random", 0.2),
            "not_borne_out",
            "the start from random labels is 0.200 nats per row: ",
        ),
        (ranked("first_impression", 0.3), "converged", "calibrated (first impression) is 0.300 nats per row: "),
        (ranked("few_shot_random", None, kappa=0.8), "not_borne_out", "agree on 90% of 64 rows, more than by chance: "),
        (ranked("zero_shot", None, kappa=0.6), "converged", "agree on 80% of 64 rows, more than by chance: "),
    ],
)
def test_a_better_baseline_is_named_if_labels_gain_little(other: RankedLabelling, stop: str, told: str) -> None:
    message = little(ranked("start_impression", 0.03), other, stop=stop)
    assert told + KNOWS in message


@pytest.mark.parametrize(
    ("other", "stop"),
    [
        (ranked("start_random", 0.08), "converged"),  # by so little chance does better, too
        (ranked("zero_shot", None, kappa=1.0), "not_borne_out"),  # the labels come from it
        (ranked("first_impression", 0.01, kappa=1.0), "not_borne_out"),
        (ranked("few_shot_random", None, kappa=0.35), "converged"),
        (ranked("few_shot_random", None, kappa=0.5, rows=16), "converged"),  # in so few rows chance does it
        (ranked("few_shot_random", None), "converged"),
    ],
)
def test_no_baseline_is_named_that_does_no_better(other: RankedLabelling, stop: str) -> None:
    assert "yet" not in little(other, stop=stop)


@pytest.mark.parametrize(("gain", "whole"), [(0.2, "the labels' entropy"), (None, "what shuffled labels cost")])
def test_a_weak_concept_is_reported_as_a_share_of_the_entropy(gain: float | None, whole: str) -> None:
    search = replace(SAMPLE, sample_rows=1000, gain_nats=gain, entropy_nats=0.69)
    found = replace(UNKNOWN, gain_nats=0.2, gain_share=0.29)
    [reason] = judge(Evidence(job=JOB, shares=shares(50, 50), unsure=0, search=search, coherence=found))
    assert reason.message == f"only 29% of {whole} is explained"


@pytest.mark.parametrize(("agreement", "codes"), [(0.69, {"restarts_disagree"}), (0.7, set()), (None, set())])
def test_restarts_must_agree(agreement: float | None, codes: set[str]) -> None:
    assert judged(search=replace(SAMPLE, restart_agreement=agreement)).keys() == codes


@pytest.mark.parametrize(
    ("above", "is_claim", "codes"), [(0.8, False, {"shortcut"}), (0.79, False, set()), (1.0, True, set())]
)
def test_labels_must_not_follow_a_feature_that_is_not_the_claim(above: float, is_claim: bool, codes: set[str]) -> None:
    assert judged(shortcuts=[shortcut(0.1), shortcut(above, is_claim=is_claim)]).keys() == codes


def test_every_feature_has_a_name() -> None:
    names = [name_of(replace(shortcut(1.0), kind=kind)) for kind in FeatureKind]
    assert len(set(names)) == len(FeatureKind)
    assert sum("'year'" in name for name in names) == 2


@pytest.mark.parametrize(("reasons", "codes"), [({"limit": 1, "converged": 3}, {"limit"}), ({"converged": 4}, set())])
def test_a_search_cut_short_is_suspicious(reasons: dict[str, int], codes: set[str]) -> None:
    assert judged(search=replace(SAMPLE, stop_reasons=reasons)).keys() == codes


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (JobStatus.RUNNING, {"unfinished": Verdict.SUSPICIOUS}),
        (JobStatus.CANCELLED, {"unfinished": Verdict.SUSPICIOUS}),
        (JobStatus.FAILED, {"failed": Verdict.DO_NOT_USE}),
    ],
)
def test_an_unfinished_job_gets_the_verdict_of_its_status(status: JobStatus, expected: dict[str, Verdict]) -> None:
    assert judged(job=replace(JOB, status=status)) == expected


def test_the_gravest_reason_decides() -> None:
    codes = verdicts.judge(Evidence(job=JOB, shares=shares(96, 4), unsure=60, search=NO_FACTS, coherence=UNKNOWN))
    assert [reason.code for reason in codes] == ["imbalance", "uncertain"]
    assert worst(codes) is Verdict.DO_NOT_USE
    assert worst(codes[:1]) is Verdict.SUSPICIOUS
    assert worst([]) is Verdict.OK


def test_every_rule_is_written_down_and_every_rule_written_down_exists() -> None:
    source = (ROOT / "service/jobs/reporting/verdicts.py").read_text("utf-8")
    codes = {(verdict, code) for verdict, code in re.findall(r'_(suspicious|unusable)\(\s*"(\w+)"', source)}
    page = (ROOT / "docs/verdicts.md").read_text("utf-8")
    rows = re.findall(r"^\| `(?!icm_)(\w+)` \| ([^|]+) \|", page, re.MULTILINE)
    words = {"suspicious": "suspicious", "do_not_use": "unusable"}
    assert {(words[verdict], code) for code, verdicts in rows for verdict in re.findall(r"\w+", verdicts)} == codes


def test_a_trial_as_another_release_has_recorded_it_does_not_hide_the_report() -> None:
    trial = {"rows": 200, "found_nats": 0.5, "permuted_nats": 1.2, "error_nats": 0.1}

    def read(stored: dict[str, float]) -> PolarityTrial | None:
        return Summaries(anchor={"polarity_trial": stored}, stop_reasons={}).search_facts(None).polarity_trial

    assert read({**trial, "epochs": 2}) == PolarityTrial(rows=200, found_nats=0.5, permuted_nats=1.2, error_nats=0.1)
    assert read({"rows": 200}) is None
