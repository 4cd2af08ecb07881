import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.config import Normalization, SearchConfig
from service.identifiers import Label, Row
from service.jobs.reporting.baselines import compare
from service.jobs.reporting.coherence import coherence
from service.jobs.reporting.facts import SearchFacts, Summaries

MEAN, SUM = SearchConfig(alpha=50), SearchConfig(alpha=50, normalization=Normalization.SUM)


def facts(**known: float) -> SearchFacts:
    return SearchFacts(utility=None, sample_rows=100, **known)  # type: ignore[arg-type]  # fields by name


def test_utilities_are_put_back_into_nats_per_row() -> None:
    found = coherence(MEAN, facts(sample_utility=-5.0, shuffled_utility=-40.0, complement_utility=-10.0))
    assert found.gain_nats == pytest.approx(0.7)
    assert found.gain_share == pytest.approx(0.875)
    assert found.polarity_nats == pytest.approx(0.1)


def test_a_sum_counts_as_much_as_the_mean_of_its_rows() -> None:
    known = {"anchor_utility": -5.0, "shuffled_utility": -40.0, "complement_utility": -10.0}
    summed = coherence(SUM, facts(**{name: 100 * value for name, value in known.items()}))
    assert summed == coherence(MEAN, facts(**known))


def test_conflicts_of_shuffled_labels_are_no_gain_if_the_search_reports_them_separately() -> None:
    known = {"anchor_utility": -5.0, "shuffled_utility": -80.0}
    found = coherence(MEAN, facts(**known, predictability=-0.1, shuffled_predictability=-0.8))
    assert found.gain_nats == pytest.approx(0.7)


def test_missing_facts_of_a_search_are_none() -> None:
    found = coherence(MEAN, facts())
    assert (found.gain_nats, found.gain_share, found.polarity_nats, found.restart_agreement) == (None,) * 4


def test_where_shuffled_labels_cost_nothing_there_is_no_share() -> None:
    found = coherence(MEAN, facts(sample_utility=0.0, shuffled_utility=0.0))
    assert (found.gain_nats, found.gain_share) == (0.0, None)


@given(st.floats(-1e4, 0), st.floats(-1e4, 0))
def test_the_share_saved_lies_between_all_and_as_much_lost(own: float, shuffled: float) -> None:
    share = coherence(MEAN, facts(sample_utility=own, shuffled_utility=shuffled)).gain_share
    assert share is None or -1 <= share <= 1


def test_summaries_name_their_facts_as_the_report_does() -> None:
    anchor = {"rows": 3, "utility": -1.0, "permuted_utility": -2.0, "baselines": {"zero_shot": [[0, 1], [2, 0]]}}
    summaries = Summaries(anchor=anchor, stop_reasons={"converged": 2})
    found = summaries.search_facts(-0.5)
    assert (found.utility, found.anchor_rows, found.anchor_utility, found.complement_utility) == (-0.5, 3, -1.0, -2.0)
    assert (found.shuffled_utility, found.restart_utilities, found.stop_reasons) == (None, [], {"converged": 2})
    assert summaries.baselines() == {"zero_shot": {0: 1, 2: 0}}


def test_a_baseline_is_compared_on_its_own_rows() -> None:
    said = {Row(0): Label(0), Row(1): Label(1), Row(2): Label(1), Row(3): Label(1)}
    found = {Row(0): Label(0), Row(1): Label(0), Row(2): Label(1), Row(9): Label(0)}
    [baseline] = compare(
        {"zero_shot": said}, found, {Row(0): Label(0), Row(1): Label(0), Row(9): Label(1)}, ["Yes", "No"]
    )
    assert (baseline.rows, [share.rows for share in baseline.labels]) == (4, [1, 3])
    assert baseline.agreement == pytest.approx(2 / 3)
    assert (baseline.gold_rows, baseline.accuracy, baseline.job_accuracy) == (2, 0.5, 1.0)


def test_a_baseline_of_rows_nobody_labelled_is_not_compared() -> None:
    [baseline] = compare({"zero_shot": {Row(0): Label(0)}}, {}, {}, ["Yes", "No"])
    assert (baseline.agreement, baseline.accuracy, baseline.job_accuracy) == (None, None, None)


def test_information_gain_is_a_share_of_the_entropy_and_a_mean_whatever_the_normalization() -> None:
    known = {"gain_nats": 0.3, "entropy_nats": 0.6, "sample_utility": 15.0, "complement_utility": 10.0}
    for config in (MEAN, SUM):
        found = coherence(config, facts(**known, shuffled_utility=-40.0))
        assert found.gain_nats == 0.3
        assert found.gain_share == pytest.approx(0.5)
        assert found.polarity_nats == pytest.approx(0.1)


def test_summaries_have_the_first_impression_and_known_rows() -> None:
    anchor = {"impression_utility": 4.0, "impression_confirmed": False, "known_rows": 16, "known_right": 14}
    found = Summaries(anchor={**anchor, "known_commonest": 9, "expected_accuracy": 0.75}, stop_reasons={}).search_facts(
        None
    )
    assert (found.impression_utility, found.impression_confirmed) == (4.0, False)
    assert (found.known_rows, found.known_right, found.known_commonest) == (16, 14, 9)
    assert found.expected_accuracy == 0.75
    without = Summaries(anchor={}, stop_reasons={}).search_facts(None)
    assert (without.impression_confirmed, without.known_rows, without.known_right) == (None, None, None)
