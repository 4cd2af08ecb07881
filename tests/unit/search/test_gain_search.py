"""Strategy `folds` under the objective `gain`, on language models of every kind of fault."""

import functools
import itertools
import math
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from service.identifiers import Label, Row
from service.search.measures.gain_audit import audit_gain
from service.search.measures.ranking import measured_labellings
from service.search.predictions.calibration import calibrated, even_shares
from service.search.predictions.scores import likeliest
from service.search.prompting.views import FINAL_SIZES, QUICK_SIZES, SWEEP_SIZES
from service.search.rules.consistency import Constraint, Rule
from service.search.state.checkpoint import to_json
from service.search.state.facts import MeasuredLabelling
from service.search.state.problem import Problem
from service.search.state.steps import Candidate, Phase, State, StopReason
from service.search.strategies.folds import Folds
from service.search.strategies.gain_search import GainSearch
from tests.long import LONG
from tests.toy import ToyWorld, drive, resolve
from tests.unit.search.resuming import check_every_step_resumes
from tests.unit.search.worlds import Deaf, Reader, Swapped


def end_of(world: ToyWorld, problem: Problem | None = None) -> State:
    return usual_end(world) if problem is None else drive(world, problem, GainSearch())[-1]


@functools.cache  # several tests look at the same search
def usual_end(world: ToyWorld) -> State:
    return drive(world, world.problem(), GainSearch())[-1]


SEEDS = range(2 if LONG else 1)


def number(end: State, name: str) -> float:
    value = dict(end.facts)[name]
    assert isinstance(value, float)
    return value


@pytest.mark.parametrize(("classes", "related"), [(2, True), (3, False)])
def test_a_concept_in_the_demonstrations_is_found_and_confirmed(classes: int, *, related: bool) -> None:
    world = Reader(42, classes, related, 1, home=0.8, right=0.8, pull=0.8, first_share=1 / classes)
    end = end_of(world)
    assert (end.phase, end.stop) == (Phase.DONE, StopReason.CONVERGED)
    assert world.share_right(end.labels) >= 0.95
    assert end.labels.keys() == end.scores.keys() == set(world.planted)
    assert world.problem().constraints.conflicts(end.labels) == []
    assert number(end, "gain_nats") > 0.5 * number(end, "entropy_nats")
    assert number(end, "utility") > number(end, "shuffled_utility") + 10


@pytest.mark.parametrize("seed", SEEDS)
def test_rows_of_a_strongly_biased_language_model_are_labelled_right_where_the_papers_utility_collapses(
    seed: int,
) -> None:
    world = Reader(48, 2, False, seed, lean=5.0)
    assert world.share_right(end_of(world).labels) >= 0.95
    collapsed = drive(world, world.problem(), Folds())[-1].labels
    assert Counter(collapsed.values())[Label(0)] >= 0.9 * world.rows


@pytest.mark.parametrize("first_share", [0.1, 0.9])
def test_a_label_that_a_tenth_of_the_rows_have_is_found(first_share: float) -> None:
    world = Reader(60, 2, False, 1, home=3.0, lean=2.0, first_share=first_share, pull=0.4)
    end = end_of(world)
    assert world.share_right(end.labels) >= 0.95
    assert Counter(end.labels.values())[Label(0)] == pytest.approx(60 * first_share, abs=3)


@pytest.mark.parametrize(("classes", "first_share"), [(2, 0.9), (2, 0.05), (4, 0.7)])
def test_a_language_model_sure_of_most_rows_keeps_the_shares_that_it_sees(classes: int, first_share: float) -> None:
    world = Reader(120, classes, False, 1, home=8.0, lean=2.0, spread=2.0, first_share=first_share)
    end = end_of(world)
    assert world.share_right(end.labels) >= 0.97
    assert Counter(end.labels.values())[Label(0)] == pytest.approx(120 * first_share, abs=3)
    assert number(end, "expected_accuracy") >= 0.95


@pytest.mark.parametrize("seed", SEEDS)
def test_if_demonstrations_show_nothing_the_labels_are_the_calibrated_impression(seed: int) -> None:
    world = Deaf(48, 2, False, seed, lean=3.0, right=0.75)
    end = end_of(world)
    assert end.stop is StopReason.NOT_BORNE_OUT
    assert end.labels == world.impressions
    assert end.facts["impression_confirmed"] is False
    assert end.panel is not None
    assert [member.demonstrations for member in end.panel.members] == [()]
    for row, label in end.labels.items():
        assert max(end.scores[row]) == end.scores[row][label]


@pytest.mark.parametrize(("seed", "pull"), [pytest.param(0, 1.0, marks=pytest.mark.long), (2, 0.5)])
def test_if_the_impression_is_a_coin_flip_the_demonstrations_decide(seed: int, pull: float) -> None:
    world = Reader(48, 2, False, seed, home=0.3, right=0.5, pull=pull)
    end = end_of(world)
    assert world.share_told_apart(end.labels) >= 0.95
    assert number(end, "utility") > number(end, "impression_utility")
    assert end.stop is StopReason.CONVERGED


@pytest.mark.parametrize(
    "world",
    [Reader(16, 2, True, 0, right=0.8), Deaf(16, 3, False, 0), Reader(16, 2, False, 3, home=0.3, right=0.5, pull=1.0)],
)
def test_a_search_that_is_stored_after_any_step_ends_like_one_that_is_not(world: Reader) -> None:
    check_every_step_resumes(world, world.problem(), GainSearch())


def test_two_runs_of_one_seed_are_equal_and_another_seed_asks_otherwise() -> None:
    world = Reader(24, 2, False, 0, right=0.8)
    first, second, other = (end_of(world, world.problem(seed)) for seed in (7, 7, 8))
    assert to_json(first) == to_json(second)
    assert first.scores != other.scores


def test_the_order_of_rows_decides_nothing_but_which_are_shown() -> None:
    world = Reader(48, 2, False, 2, lean=2.0, right=0.85, pull=0.5)
    texts = world.problem().texts
    turned = replace(world.problem(), texts={row: texts[row] for row in sorted(texts, reverse=True)})
    assert end_of(world, turned).labels == end_of(world).labels == world.planted


def test_known_labels_stay_and_a_label_set_whose_words_are_swapped_is_read_right() -> None:
    world = Swapped(48, 2, False, 1, pull=0.1)
    assert world.share_right(end_of(world).labels) <= 0.05
    known = {row: world.planted[row] for row in [*_of(world, 0)[:4], *_of(world, 1)[:4]]}
    end = end_of(world, replace(world.problem(), known=known))
    assert known.items() <= end.labels.items()
    assert world.share_right(end.labels) >= 0.95


def knowing(world: Reader, rows: list[Row], *, wrong: int = 0) -> Problem:
    """The world's problem with these rows known, the first of them wrongly."""
    known = {row: Label((world.planted[row] + (place < wrong)) % world.classes) for place, row in enumerate(rows)}
    return replace(world.problem(), known=known)


def few_shot(world: Reader, problem: Problem) -> float:
    """The share of rows that calibrated prompting with the known rows as examples labels correctly."""
    told = {row: world.log_probabilities(row, problem.known) for row in world.planted if row not in problem.known}
    calm = calibrated(told, even_shares(problem.classes))
    return world.share_right({**{row: likeliest(values) for row, values in calm.items()}, **problem.known})


KNOWN_WORLDS = {
    "knows": Reader(48, 2, False, 1, lean=2.0, right=0.85, pull=0.3),
    "learns": Reader(48, 4, False, 2, home=0.3, right=0.25, pull=0.7, first_share=0.25),
    "misreads": Swapped(48, 2, False, 3, pull=0.05),
    "deaf": Deaf(48, 2, False, 4, home=3.0, right=0.9),
    "related": Reader(48, 2, True, 5, lean=2.0, right=0.85, pull=0.3),
}


CASES = ["4", "36", "one label missing", "wrong ones among them"]


@pytest.mark.parametrize(
    ("name", "case"),
    [
        *((name, "16") for name in KNOWN_WORLDS),
        *(("knows", case) for case in CASES),
        *(pytest.param("learns", case, marks=pytest.mark.long) for case in CASES),
    ],
)
def test_with_known_rows_no_kind_of_language_model_does_worse_than_few_shot_prompting_behind_them(
    name: str, case: str
) -> None:
    world = KNOWN_WORLDS[name]
    rows = sorted(world.planted, key=lambda row: (row // 4, world.planted[row], row))
    if case == "one label missing":
        rows = [row for row in rows if world.planted[row]]
    count = {"4": 4, "36": 36}.get(case, 16)
    problem = knowing(world, rows[:count], wrong=2 if case.startswith("wrong") else 0)
    end = end_of(world, problem)
    assert problem.known.items() <= end.labels.items()
    assert problem.constraints.conflicts_of(sorted(world.planted.keys() - problem.known.keys()), end.labels) == []
    assert world.share_right(end.labels) >= few_shot(world, problem) - 0.05


def test_meaningless_labels_are_learned_from_known_rows_and_confirmed_by_those_left_out() -> None:
    world = Reader(64, 4, False, 0, home=0.3, right=0.25, pull=0.7, first_share=0.25)
    known = [row for label in range(4) for row in _of(world, label)[:4]]
    end = end_of(world, knowing(world, known))
    assert end.stop is StopReason.CONVERGED
    assert world.share_right(end.labels) >= 0.9
    assert end.facts["impression_confirmed"] is True
    assert end.facts["known_right"] >= 14
    assert (end.facts["known_rows"], end.facts["known_commonest"]) == (16, 4)


def test_labels_found_that_predict_known_rows_worse_are_not_shown() -> None:
    world = Swapped(48, 2, False, 1, pull=0.05)
    problem = knowing(world, [*_of(world, 0)[:8], *_of(world, 1)[:8]])
    end = end_of(world, problem)
    assert end.panel is not None
    assert {row for member in end.panel.members for row, _ in member.demonstrations} <= problem.known.keys()


def test_unpredictable_known_labels_confirm_nothing() -> None:
    world = Deaf(48, 2, False, 1, home=0.3, right=0.5)
    end = end_of(world, knowing(world, [*_of(world, 0)[:8], *_of(world, 1)[:8]]))
    assert end.stop is StopReason.NOT_BORNE_OUT
    assert end.facts["impression_confirmed"] is False


def test_with_known_rows_there_is_no_start_from_random_labels_to_agree_with() -> None:
    world = Reader(48, 2, False, 0, right=0.85, pull=0.5)
    end = end_of(world, knowing(world, [*_of(world, 0)[:8], *_of(world, 1)[:8]]))
    assert list(labellings(end)) == ["found", "first_impression", "start_impression"]
    assert end.facts["restart_agreement"] is None


@pytest.mark.parametrize("world", [Swapped(24, 2, False, 0, pull=0.1), Reader(24, 2, True, 0, right=0.8)])
def test_a_search_with_known_rows_that_is_stored_after_any_step_ends_like_one_that_is_not(world: Reader) -> None:
    problem = knowing(world, [*_of(world, 0)[:4], *_of(world, 1)[:4]])
    check_every_step_resumes(world, problem, GainSearch())


def _of(world: ToyWorld, label: int) -> list[Row]:
    return [row for row, planted in world.planted.items() if planted == label]


@pytest.mark.parametrize(("kind", "share"), [(Reader, 0.25), (Deaf, 0.4)])
def test_shares_that_the_user_knows_are_kept_from_the_first_labels_to_the_last(
    kind: type[Reader], share: float
) -> None:
    world = kind(40, 2, False, 0, lean=3.0)
    problem = replace(world.problem(), shares={Label(0): (share, share)})
    for state in drive(world, problem, GainSearch())[1:-1]:
        if state.phase is Phase.SWEEP and len(state.starts) != 2:
            assert Counter(state.labels.values())[Label(0)] == share * world.rows
    assert Counter(end_of(world, problem).labels.values())[Label(0)] == share * world.rows


def test_where_relations_tie_all_rows_together_they_are_labelled_all_the_same() -> None:
    world = Reader(24, 2, False, 0, home=2.0, pull=0.5)
    ordered = [*_of(world, 0), *_of(world, 1)]
    ties = [
        Constraint(
            Rule.SAME_LABEL if world.planted[a] == world.planted[b] else Rule.DIFFERENT_LABEL, ((a,), (b,)), Label(0)
        )
        for a, b in itertools.pairwise(ordered)
    ]
    end = end_of(world, replace(world.problem(), constraint_list=ties))
    assert end.labels == world.planted


@pytest.mark.parametrize(("rows", "related"), [(1, False), (2, True), (3, False)])
def test_tiny_data_sets_are_labelled_too(rows: int, *, related: bool) -> None:
    end = end_of(ToyWorld(rows, 2, related, 1))
    assert end.phase is Phase.DONE
    assert len(end.labels) == len(end.scores) == rows


@pytest.mark.parametrize("changes", [{"max_demonstrations": 0}, {"max_demonstrations": 3}, {"budget_tokens": 0}])
def test_with_little_room_for_demonstrations_every_row_is_labelled(changes: dict[str, Any]) -> None:
    world = Reader(24, 2, False, 0, home=2.0)
    tokens = dict.fromkeys(world.planted, 5)
    end = end_of(world, replace(world.problem(), demonstration_tokens=tokens, **changes))
    assert world.share_right(end.labels) >= 0.9


def test_the_report_has_the_gain_the_entropy_and_the_baselines() -> None:
    world = Reader(48, 2, False, 0, lean=4.0, right=0.8, pull=0.5)
    end = end_of(world)
    assert number(end, "entropy_nats") == pytest.approx(math.log(2), abs=0.02)
    assert number(end, "predictability") == pytest.approx(number(end, "gain_nats") - number(end, "entropy_nats"))
    assert 0 < number(end, "gain_nats") <= number(end, "entropy_nats")
    assert number(end, "shuffled_predictability") < number(end, "predictability")
    assert number(end, "polarity_nats") > 0
    baselines = end.facts["baselines"]
    assert isinstance(baselines, dict)
    assert {label for _, label in baselines["zero_shot"]} == {0}
    assert world.share_right(dict(baselines["zero_shot_calibrated"])) == pytest.approx(0.8, abs=0.03)
    assert {row for row, _ in baselines["few_shot_random"]} == set(world.planted)


def labellings(end: State) -> dict[str, MeasuredLabelling]:
    return {said["name"]: said for said in end.facts["labellings"]}


def test_the_searchs_labellings_are_reported_with_comparable_gains() -> None:
    world = Reader(48, 2, False, 0, lean=4.0, right=0.8, pull=0.5)
    end = end_of(world)
    alpha = world.problem().parameters.alpha
    told = labellings(end)
    assert list(told) == ["found", "first_impression", "start_impression", "start_random"]
    assert {(said["rows"], said["conflicts"]) for said in told.values()} == {(48, 0)}
    assert told["found"]["gain_nats"] == pytest.approx(number(end, "utility") / alpha)
    assert told["first_impression"]["gain_nats"] == pytest.approx(number(end, "impression_utility") / alpha)
    assert told["found"]["gain_nats"] > told["first_impression"]["gain_nats"] + 0.1
    assert told["first_impression"]["agreement"] == pytest.approx(0.8, abs=0.03)
    assert told["found"]["agreement"] == told["found"]["kappa"] == 1.0
    sizes = [told[name]["demonstrations"] for name in told]
    assert sizes == [list(sizes) for sizes in (FINAL_SIZES, SWEEP_SIZES, SWEEP_SIZES, QUICK_SIZES)]


def test_labels_that_are_not_confirmed_have_the_gain_of_the_first_impression() -> None:
    told = labellings(end_of(Deaf(48, 2, False, 0, lean=3.0, right=0.75)))
    assert {**told["found"], "name": "", "kappa": 0} == {**told["first_impression"], "name": "", "kappa": 0}


def test_each_start_has_its_name_one_that_was_permuted_too() -> None:
    world = Reader(8, 2, True, 0)
    problem = world.problem()
    mirrored = {row: Label(1 - label) for row, label in world.planted.items()}
    candidates = [Candidate(world.planted, {}, 10.0), *[Candidate(mirrored, {}, float(n)) for n in range(4)]]
    told = measured_labellings(problem, candidates[1:], candidates[0], [(8,), (8,), (32,), (32,), (16,)])
    assert [said["name"] for said in told] == [
        "found",
        "first_impression",
        "start_impression",
        "start_random",
        "start_permuted",
    ]
    assert [said["gain_nats"] for said in told] == [0.2, 0.0, 0.02, 0.04, 0.06]
    assert [said["demonstrations"] for said in told] == [[16], [8], [8], [32], [32]]
    assert [said["agreement"] for said in told] == [1.0, 0.0, 0.0, 0.0, 0.0]


def test_the_gain_on_the_sample_does_not_count_conflicts_and_its_utility_does() -> None:
    world = Reader(30, 2, True, 3)
    problem = world.problem()
    broken = {row: Label((label + (row % 4 == 0)) % 2) for row, label in world.planted.items()}
    conflicts = len(problem.constraints.conflicts(broken))
    found = resolve(world, audit_gain(problem, broken, {}, dict.fromkeys(problem.rows, (-0.7, -0.7))))
    facts = found.facts()
    assert conflicts > 0
    assert found.own.utility == pytest.approx(50 * float(str(facts["gain_nats"])) - conflicts)
    assert float(str(facts["predictability"])) == pytest.approx(float(str(facts["gain_nats"])) - found.entropy_nats)


def test_raw_probabilities_are_the_language_models_own_and_confidences_are_calibrated() -> None:
    world = Reader(48, 2, False, 0, lean=5.0)
    *before, end = drive(world, world.problem(), GainSearch())
    assert end.raw_scores.keys() == end.labels.keys()
    rare = [row for row, label in end.labels.items() if label == 1]
    assert sum(math.exp(end.scores[row][1]) for row in rare) > 0.8 * len(rare)
    assert sum(math.exp(end.raw_scores[row][1]) for row in rare) < 0.2 * len(rare)
    assert all(state.raw_scores == {} for state in before if state.phase is not Phase.DONE)


@pytest.mark.parametrize("right", [0.9, 1.0])
def test_confidences_are_on_average_the_share_of_right_labels(right: float) -> None:
    world = Reader(96, 2, False, 0, right=right)
    end = end_of(world)
    said = [math.exp(end.scores[row][label]) for row, label in end.labels.items()]
    assert sum(said) / len(said) == pytest.approx(world.share_right(end.labels), abs=0.05)
    assert end.facts["expected_accuracy"] == pytest.approx(sum(said) / len(said))


def test_raw_probabilities_of_labels_that_are_not_confirmed_are_the_answers_without_demonstrations() -> None:
    world = Deaf(48, 2, False, 0, lean=3.0, right=0.75)
    end = end_of(world)
    raw = end.raw_scores
    assert "expected_accuracy" not in end.facts
    assert raw == {row: pytest.approx(world.log_probabilities(row, {})) for row in world.planted}


def test_scores_of_other_strategies_are_raw_as_they_are() -> None:
    world = ToyWorld(12, 2, False, 1)
    end = drive(world, world.problem(), Folds())[-1]
    assert end.raw_scores == end.scores != {}
