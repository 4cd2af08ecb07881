"""Strategies `scalable` and `iterative`, over a toy model that learns equally by weights and from prompts."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from service.identifiers import Label, Row
from service.search.engine import Search
from service.search.predictions.training import TrainAndScore, Trainings
from service.search.rules.consistency import Constraint, Rule
from service.search.state.objective import Objective
from service.search.state.problem import Problem, Start
from service.search.state.steps import Phase, State, StopReason, Strategy, trees_of
from service.search.strategies.iterative import Iterative, batches_of
from service.search.strategies.registry import StrategyName
from service.search.strategies.scalable import Scalable, folds_of
from service.search.strategies.trained import first_part, subproblem, tokens_read
from tests.toy import ToyWorld, drive
from tests.unit.search.resuming import check_every_step_resumes
from tests.unit.search.worlds import Reader

SMALL = {"anchor_rows": 24, "batch_rows": 20, "folds": 4}


def reader(seed: int = 1, *, classes: int = 2, related: bool = True, rows: int = 64, home: float = 0.8) -> Reader:
    return Reader(rows, classes, related, seed, home=home, right=0.8, pull=0.8, first_share=1 / classes)


def trainings(world: ToyWorld, problem: Problem, strategy: Strategy, state: State | None = None) -> list[Trainings]:
    """Every request for trainings that a search makes."""
    search, asked = Search(problem, strategy, state), list[Trainings]()
    while (request := search.ask()) is not None:
        if isinstance(request, Trainings):
            asked.append(request)
        search.tell(world.answers(request))
    return asked


def inverted(labels: dict[Row, Label]) -> dict[Row, Label]:
    return {row: Label(1 - label) for row, label in labels.items()}


def tied(problem: Problem, groups: Sequence[Sequence[int]]) -> Problem:
    """The problem with rules that tie rows in other ways."""
    rules = [
        Constraint(Rule.AT_MOST_ONE, tuple((Row(row),) for row in group), Label(0))
        for group in groups
        if len(group) > 1
    ]
    return replace(problem, constraint_list=rules)


@pytest.mark.parametrize(
    ("name", "rounds", "classes"),
    [
        (StrategyName.SCALABLE, 1, 2),
        (StrategyName.SCALABLE, 4, 2),
        (StrategyName.ITERATIVE, 4, 2),
        pytest.param(StrategyName.SCALABLE, 1, 3, marks=pytest.mark.long),
        (StrategyName.SCALABLE, 1, 5),  # the trial does not train on all permutations
    ],
)
def test_the_tokens_that_trainings_still_read_are_known_before_each_of_them(
    name: StrategyName, rounds: int, classes: int
) -> None:
    world = reader(classes=classes)
    problem = world.problem(**SMALL, rounds=rounds)
    left, read = name.approach.tokens_left, list[tuple[int, int]]()
    assert left is not None
    search = Search(problem, name.approach.searches[Objective.GAIN])
    while (request := search.ask()) is not None:
        if isinstance(request, Trainings):
            read.append((left(problem, search.state), sum(tokens_read(problem, one) for one in request.requests)))
        search.tell(world.answers(request))
    assert left(problem, search.state) == 0
    for number, (told, _) in enumerate(read):
        following = sum(tokens for _, tokens in read[number:])
        if rounds == 1 or name is StrategyName.ITERATIVE:
            assert told == pytest.approx(following, rel=0.05)  # the trial's is told by the mean row
        else:
            assert told >= 0.95 * following  # rounds end once the labels stay


class TestScalable:
    @pytest.mark.parametrize(("classes", "related"), [(2, True), (2, False), (3, True)])
    def test_from_an_anchor_the_right_labels_are_found_the_right_way_round(
        self, classes: int, *, related: bool
    ) -> None:
        world = reader(classes=classes, related=related)
        end = drive(world, world.problem(**SMALL), Scalable())[-1]
        assert (end.phase, end.stop) == (Phase.DONE, StopReason.CONVERGED)
        assert world.share_right(end.labels) >= 0.95
        assert end.labels.keys() == end.scores.keys() == set(world.planted)
        assert world.problem().constraints.conflicts(end.labels) == []

    def test_random_labels_end_as_one_of_two_mirror_images(self) -> None:
        shares = set()
        for seed in range(4):
            world = replace(reader(seed), home=0.0)
            end = drive(world, world.problem(seed, start=Start.RANDOM, **{**SMALL, "rounds": 8}), Scalable())[-1]
            shares.add(round(world.share_right(end.labels)))
            assert world.share_told_apart(end.labels) >= 0.95
        assert shares == {0, 1}

    def test_the_report_says_so_where_the_start_was_inverted(self) -> None:
        world = reader(home=2.0)
        problem = world.problem(**SMALL)
        trials = []
        for labels in (world.planted, inverted(world.planted)):
            end = drive(world, problem, Scalable(), State(phase=Phase.TRAIN, labels=labels))[-1]
            assert end.labels == labels
            trials.append(end.facts["polarity_trial"])
        right, wrong = trials
        assert right["found_nats"] + 2 * right["error_nats"] < right["permuted_nats"]
        assert wrong["permuted_nats"] + 2 * wrong["error_nats"] < wrong["found_nats"]

    def test_each_fold_is_asked_of_a_training_that_has_seen_no_row_of_it(self) -> None:
        world = reader()
        problem = world.problem(**SMALL)
        *rounds, trial = trainings(world, problem, Scalable())
        assert len(rounds) >= 1
        assert [len(asked) for asked in rounds] == [4] * len(rounds)
        for asked in rounds:
            assert sorted(row for one in asked.requests for row in rows_scored(one)) == list(problem.rows)
            for one in asked.requests:
                assert sorted({*rows_learned(one), *rows_scored(one)}) == list(problem.rows)
                assert not {problem.constraints.group_of[row] for row in rows_scored(one)} & {
                    problem.constraints.group_of[row] for row in rows_learned(one)
                }
                assert one.epochs == problem.parameters.epochs
        assert len(trial) == 2
        assert {one.epochs for one in trial.requests} == {1}

    def test_folds_are_of_one_size_and_never_part_related_rows(self) -> None:
        problem = tied(reader(rows=50).problem(folds=5), [range(10), range(20, 23), range(30, 38)])
        folds = folds_of(problem)
        assert sorted(row for fold in folds for row in fold) == list(problem.rows)
        assert max(map(len, folds)) - min(map(len, folds)) <= 2
        for group in problem.groups:
            assert sum(not set(group).isdisjoint(fold) for fold in folds) == 1

    def test_rounds_end_where_they_may_go_no_further(self) -> None:
        world = replace(reader(), home=0.0)
        problem = world.problem(start=Start.RANDOM, **{**SMALL, "rounds": 1})
        end = drive(world, problem, Scalable())[-1]
        assert end.stop is StopReason.ROUNDS_DONE
        assert len(end.facts["changed_shares"]) == 1
        assert end.facts["changed_shares"][0] >= 0.01

    def test_the_cost_of_trainings_is_counted(self) -> None:
        world = reader()
        problem = replace(world.problem(**SMALL), demonstration_tokens=dict.fromkeys(world.planted, 5))
        end = drive(world, problem, Scalable())[-1]
        rounds = len(end.facts["changed_shares"])
        assert end.facts["trainings"] == 4 * rounds + 2
        assert end.facts["tokens_trained"] == 5 * (3 * 3 * 64 * rounds + 2 * 32)

    def test_the_trial_asks_for_no_row_that_is_related_to_one_it_learned(self) -> None:
        world = reader()
        problem = tied(world.problem(**SMALL), [range(10), range(20, 23), range(30, 38)])
        trial = trainings(world, problem, Scalable(), State(phase=Phase.TRIAL, labels=world.planted, scores={}))[-1]
        learned, asked = ({problem.constraints.group_of[row] for row in rows(trial.requests[0])} for rows in ROWS)
        assert not learned & asked

    def test_without_rows_to_ask_there_is_no_trial(self) -> None:
        world = reader()
        problem = tied(world.problem(**SMALL), [range(64)])
        end = drive(world, problem, Scalable(), State(phase=Phase.TRIAL, labels=world.planted))[-1]
        assert end.phase is Phase.DONE
        assert "polarity_trial" not in end.facts

    def test_known_rows_keep_their_labels_and_are_learned(self) -> None:
        world = reader()
        known = {row: Label(1 - label) for row, label in list(world.planted.items())[:4]}
        problem = replace(world.problem(**SMALL), known=known)
        end = drive(world, problem, Scalable())[-1]
        assert {row: end.labels[row] for row in known} == known
        learned = {e.row: e.label for one in trainings(world, problem, Scalable()) for e in one.requests[0].examples}
        assert {row: label for row, label in learned.items() if row in known}.items() <= known.items()

    def test_labels_keep_to_the_shares_that_the_user_knows(self) -> None:
        world = reader(related=False)
        problem = replace(world.problem(**SMALL), shares={Label(0): (0.25, 0.25)})
        end = drive(world, problem, Scalable())[-1]
        assert sum(label == 0 for label in end.labels.values()) == 16

    def test_a_data_set_that_is_all_anchor_is_trained_on_as_well(self) -> None:
        world = reader(rows=20)
        end = drive(world, world.problem(**SMALL), Scalable())[-1]
        assert world.share_right(end.labels) >= 0.95
        assert end.facts["trainings"] >= 4


class TestIterative:
    @pytest.mark.parametrize(("classes", "related"), [(2, True), (2, False), (3, True)])
    def test_batch_after_batch_is_labelled_right(self, classes: int, *, related: bool) -> None:
        world = reader(classes=classes, related=related)
        end = drive(world, world.problem(**SMALL), Iterative())[-1]
        assert (end.phase, end.stop) == (Phase.DONE, StopReason.BATCHES_DONE)
        assert world.share_right(end.labels) >= 0.95
        assert end.labels.keys() == end.scores.keys() == set(world.planted)
        assert world.problem().constraints.conflicts(end.labels) == []

    def test_every_batch_is_asked_of_the_base_trained_on_all_batches_before(self) -> None:
        world = reader()
        problem = world.problem(**SMALL)
        *batches, _trial = trainings(world, problem, Iterative())
        expected = batches_of(problem)
        assert len(expected) == 4
        assert [[rows_scored(one) for one in asked.requests] for asked in batches] == [
            [sorted(batch)] for batch in expected[1:]
        ]
        seen = sorted(expected[0])
        for asked, batch in zip(batches, expected[1:], strict=True):
            assert rows_learned(asked.requests[0]) == seen
            seen = sorted([*seen, *batch])

    def test_a_label_that_was_given_stays(self) -> None:
        world = reader()
        labels: dict[Row, Label] = {}
        for state in drive(world, world.problem(**SMALL), Iterative()):
            if state.phase is Phase.TRAIN:
                assert labels.items() <= state.labels.items()
                labels = dict(state.labels)
        assert len(labels) == 64

    def test_batches_hold_related_rows_whole(self) -> None:
        problem = tied(reader(rows=50).problem(batch_rows=10), [range(12), range(20, 23), range(30, 38)])
        batches = batches_of(problem)
        assert sorted(row for batch in batches for row in batch) == list(problem.rows)
        for group in problem.groups:
            assert sum(not set(group).isdisjoint(batch) for batch in batches) == 1


def rows_scored(asked: TrainAndScore) -> list[Row]:
    return [query.row for query in asked.queries]


def rows_learned(asked: TrainAndScore) -> list[Row]:
    return [example.row for example in asked.examples]


ROWS = rows_learned, rows_scored


def test_known_rows_stand_in_the_first_part_beside_as_many_others() -> None:
    world = reader(related=False)
    problem = replace(world.problem(), known={Row(row): Label(0) for row in range(20)})
    shown = first_part(problem, 16)
    assert len(shown) == 16
    assert sum(row in problem.known for row in shown) == 8
    assert len(first_part(replace(problem, known=dict.fromkeys(problem.rows, Label(0))), 16)) == 16
    assert first_part(problem, 1000) != []
    assert set(first_part(problem, 1000)) == set(problem.rows)


def test_a_part_has_the_rules_and_the_known_rows_of_its_own_rows() -> None:
    problem = replace(reader().problem(), known={Row(0): Label(0), Row(9): Label(1)}, shares={Label(0): (0.5, 0.5)})
    part = subproblem(problem, [Row(row) for row in range(8)])
    assert part.rows == tuple(map(Row, range(8)))
    assert len(part.constraint_list) == 4
    assert part.known == {Row(0): Label(0)}
    assert part.shares[Label(0)][0] < 0.5 < part.shares[Label(0)][1]
    assert subproblem(problem, problem.rows).shares[Label(0)] == pytest.approx((0.5, 0.5))


@pytest.mark.parametrize("strategy", [Scalable(), Iterative()])
def test_a_search_resumed_after_any_step_ends_the_same(strategy: Strategy) -> None:
    world = reader(rows=40)
    states = check_every_step_resumes(world, world.problem(**SMALL), strategy)
    assert {Phase.SWEEP, Phase.TRAIN, Phase.DONE} <= {state.phase for state in states}


def test_a_scorer_that_cannot_train_says_so() -> None:
    with pytest.raises(TypeError, match="this process cannot train"):
        trees_of(Trainings(()))
