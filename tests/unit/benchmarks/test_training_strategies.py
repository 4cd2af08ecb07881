"""The rows of the table of searches that train."""

from benchmarks.training_strategies import Answering, iterative_row, run, scalable_row
from service.search.predictions.prompt_tree import TreeScores
from service.search.predictions.training import Trainings
from service.search.state.steps import Request
from service.search.strategies.iterative import Iterative
from service.search.strategies.scalable import Scalable
from tests.unit.search.worlds import Reader

WORLD = Reader(40, 2, True, 1, home=2.0, right=0.8, pull=0.8)


class Nobody:
    """A scorer that must not be called."""

    def answer(self, request: Request) -> list[TreeScores]:
        raise AssertionError(request)


class InWorld(Answering):
    """Answers by the toy world alone."""

    def answer(self, request: Request | Trainings) -> list[TreeScores]:
        if isinstance(request, Trainings):
            self.training_seconds += [1.5] * len(request)
        return WORLD.answers(request)


def test_a_row_has_the_labels_before_and_after_each_round_and_the_verdict_of_the_trial() -> None:
    found = run(InWorld(Nobody(), WORLD.problem(anchor_rows=16)), Scalable())
    start, seed, first, rounds, trial, trainings, context, seconds = cells(
        scalable_row(found, "anchor", 3, WORLD.planted)
    )
    assert (start, seed, float(first)) == ("anchor", "3", 1.0)
    assert len(rounds.split(", ")) == len(found.end.facts["changed_shares"])
    assert trial.startswith("found (")
    assert int(trainings) == 4 * len(rounds.split(", ")) + 2
    assert (float(context), float(seconds)) == (0, int(trainings) * 1.5)


def test_a_row_of_batches_has_each_of_them() -> None:
    problem = WORLD.problem(batch_rows=10)
    seed, name, accuracy, by_batch, *_ = cells(
        iterative_row(run(InWorld(Nobody(), problem), Iterative()), "iterative", 2, problem, WORLD.planted)
    )
    assert (seed, name, float(accuracy)) == ("2", "iterative", 1.0)
    assert by_batch == ", ".join(["1.000"] * 4)


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip().strip("|").split("|")]
