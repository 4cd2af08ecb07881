"""What known rows, left out of the prompts, say for and against labels."""

from dataclasses import replace

import pytest

from service.jobs.reporting.facts import SearchFacts
from service.jobs.reporting.verdicts import Evidence, Verdict, judge
from tests.unit.jobs.test_verdicts import JOB, SAMPLE, UNKNOWN, judged, shares


def known(right: int, rows: int, commonest: int | None = None, *, sample_rows: int = 100) -> SearchFacts:
    """Facts of a search that labelled so many of the known rows rightly."""
    return replace(SAMPLE, sample_rows=sample_rows, known_rows=rows, known_right=right, known_commonest=commonest)


@pytest.mark.parametrize(
    ("right", "rows", "commonest", "expected"),
    [
        (2, 16, 8, {"known_rows": Verdict.DO_NOT_USE}),  # the other way round
        (8, 16, 8, {"known_rows": Verdict.DO_NOT_USE}),
        (10, 16, 8, {"known_rows": Verdict.SUSPICIOUS}),
        (11, 16, 8, {}),
        (16, 16, 8, {}),
        (11, 16, 11, {"known_rows": Verdict.DO_NOT_USE}),  # as often as one label for all
        (14, 16, 12, {}),
        (12, 16, 15, {}),  # even 16 of 16 would not be beyond one label for all
        (0, 7, 4, {}),  # too few
        (540, 1000, 500, {"known_rows": Verdict.DO_NOT_USE}),  # hardly better than chance, for certain
        (8, 16, None, {"known_rows": Verdict.DO_NOT_USE}),  # what an earlier release stored
        (0, 0, 0, {}),
    ],
)
def test_labels_that_miss_known_rows_like_a_guess_are_not_to_be_used(
    right: int, rows: int, commonest: int | None, expected: dict[str, Verdict]
) -> None:
    assert judged(search=known(right, rows, commonest)) == expected


@pytest.mark.parametrize(
    ("right", "expected"),
    [(4, {"known_rows": Verdict.DO_NOT_USE}), (7, {"known_rows": Verdict.SUSPICIOUS}), (9, {})],
)
def test_with_more_labels_a_guess_is_right_less_often(right: int, expected: dict[str, Verdict]) -> None:
    assert judged(25, 25, 25, 25, search=known(right, 16, 4)) == expected


@pytest.mark.parametrize(
    ("right", "rows", "share", "expected"),
    [
        (13, 16, -0.1, {}),
        (12, 16, 0.2, {}),
        (11, 16, 0.2, {"weak_concept": Verdict.SUSPICIOUS}),  # chance may do that
        (11, 16, -0.1, {"no_concept": Verdict.DO_NOT_USE}),
        (7, 7, -0.1, {"no_concept": Verdict.DO_NOT_USE}),  # too few to prove anything
        (3, 16, 0.9, {"known_rows": Verdict.DO_NOT_USE}),  # coherent and wrong
    ],
)
def test_known_rows_outweigh_what_the_labels_tell_the_language_model(
    right: int, rows: int, share: float, expected: dict[str, Verdict]
) -> None:
    found = replace(UNKNOWN, gain_nats=share * 0.69, gain_share=share)
    assert judged(search=known(right, rows, sample_rows=1000), found=found) == expected


def test_known_rows_do_not_excuse_one_label_for_all_nor_unsure_rows() -> None:
    found = judged(100, 0, unsure=60, search=known(16, 16, 8))
    assert found == {"class_collapse": Verdict.DO_NOT_USE, "uncertain": Verdict.DO_NOT_USE}


def test_the_evidence_of_known_rows_against_labels_is_reported_in_numbers() -> None:
    evidence = Evidence(job=JOB, shares=shares(50, 50), unsure=0, search=known(4, 16, 8), coherence=UNKNOWN)
    [reason] = judge(evidence)
    assert reason.message == (
        "known rows that were left out of the prompts got their known label in 4 of 16 cases "
        "(10% to 49% for all rows); a guess gets 50% of them right"
    )
