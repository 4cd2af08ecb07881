"""Measures accuracy and CPU time of strategies `scalable` and `iterative` on the small model (docs/scalable.md).

    python -m benchmarks.training_strategies scalable --data FOLDER --seeds 0 1 2
    python -m benchmarks.training_strategies iterative --rows 2560 --seeds 0

Each run prints a line of a table. The trainings run the command `python -m training` in this process, so that the
seconds do not contain the time to start a process and load its libraries.
"""

import argparse
import io
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import torch
from transformers.utils import logging

from benchmarks.data import LABELS, related
from benchmarks.local import LocalScorer, load_model
from benchmarks.measures import accuracy
from benchmarks.real.cells import problem_of
from benchmarks.real.scorer import Loaded, RealScorer
from benchmarks.real.tasks import draw
from inference.settings import SMALL_MODEL
from service.identifiers import Label, Row
from service.jobs.reporting.verdicts import POLARITY_TRIAL_ERRORS
from service.search.engine import Search
from service.search.predictions.prompt_tree import TreeScores
from service.search.predictions.training import TrainAndScore, Trainings
from service.search.state.problem import Parameters, Problem, Start
from service.search.state.steps import Phase, Request, State, Step, Strategy
from service.search.strategies.iterative import Iterative, batches_of
from service.search.strategies.scalable import Scalable
from service.search.strategies.trained import extend_to_all, first_part, search_first_part
from service.training_process.trained_files import examples_of, questions_of, read_scores, spec_of, write_rows
from training.command import main as train
from training.progress import Progress
from training.supervision import StopRequest

STARTS = ("anchor", "random", "inverted")
FORM = "statement, question mark"
_SCALABLE_HEAD = (
    "| start | seed | first labels | after each round | learned faster (nats found / inverted, error) | trainings "
    "| CPU s in context | CPU s of trainings |\n|---|---|---|---|---|---|---|---|\n"
)
_ITERATIVE_HEAD = (
    "| seed | strategy | accuracy | by batch | CPU s in context | CPU s of trainings |\n|---|---|---|---|---|---|\n"
)


class Scorer(Protocol):
    """Answers prompt trees."""

    def answer(self, request: Request) -> list[TreeScores]:
        """The scores of every tree."""


@dataclass
class Answering:
    """Answers requests for prompts and trainings in this process, and counts the CPU seconds of both."""

    scorer: Scorer
    problem: Problem
    context_seconds: float = 0.0
    training_seconds: list[float] = field(default_factory=list)

    def answer(self, request: Request | Trainings) -> list[TreeScores]:
        """The answers to all trees, or to all trainings one after the other."""
        if isinstance(request, Trainings):
            return [self._trained(training) for training in request.requests]
        began = time.process_time()
        found = self.scorer.answer(request)
        self.context_seconds += time.process_time() - began
        return found

    def _trained(self, asked: TrainAndScore) -> TreeScores:
        began = time.process_time()
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            found = train_here(folder, asked, self.problem)
        self.training_seconds.append(time.process_time() - began)
        return found


def train_here(folder: Path, asked: TrainAndScore, problem: Problem) -> TreeScores:
    """Train the small model in this process, and score. Raises RuntimeError if the training fails."""
    write_rows(folder, examples_of(asked, problem.labels), questions_of(asked))
    base = {"base": str(SMALL_MODEL.resolve()), "examples": "examples.jsonl", "device": "cpu"}
    spec = folder / "spec.json"
    spec.write_text(json.dumps({**base, **spec_of(asked, problem.labels, problem.separator)}), "utf-8")
    events = io.StringIO()
    if train(Progress(events), StopRequest(), ["run", str(spec), "--out", str(folder / "out")]):
        raise RuntimeError(events.getvalue())
    return read_scores(folder / "out", asked, problem.classes)


@dataclass(frozen=True, slots=True)
class FinishedSearch:
    """A finished search with its states."""

    states: Sequence[State]
    answering: Answering

    @property
    def end(self) -> State:
        """The last state."""
        return self.states[-1]

    def accuracies(self, gold: Mapping[Row, Label], phase: Phase) -> list[float]:
        """The accuracy of the labels before each step of a phase, if all rows had one."""
        return [accuracy(s.labels, gold) for s in self.states if s.phase is phase and len(s.labels) == len(gold)]

    @property
    def trial(self) -> str:
        """The result of the trial of polarity."""
        trial = self.end.facts.get("polarity_trial")
        if trial is None:
            return "none"
        found, permuted, error = trial["found_nats"], trial["permuted_nats"], trial["error_nats"]
        gap = (permuted - found) / error
        says = "undecided" if abs(gap) <= POLARITY_TRIAL_ERRORS else "found" if gap > 0 else "inverted"
        return f"{says} ({found:.3f} / {permuted:.3f}, {error:.3f})"


def run(answering: Answering, strategy: Strategy, state: State | None = None) -> FinishedSearch:
    """Run a search to its end, from its beginning or from a state."""
    search = Search(answering.problem, strategy, state)
    states = [search.state]
    while (request := search.ask()) is not None:
        if states[-1] is not search.state:
            states.append(search.state)
        search.tell(answering.answer(request))
    return FinishedSearch([*states, search.state], answering)


def scalable_rows(arguments: argparse.Namespace) -> Iterator[str]:
    """Run strategy `scalable`; yields a line for each start and seed."""
    loaded = Loaded.of(str(SMALL_MODEL))
    yield _SCALABLE_HEAD
    for seed, start in itertools.product(arguments.seeds, arguments.starts):
        drawn = draw("larger_than", arguments.data, arguments.rows, seed)
        scorer = RealScorer(loaded, drawn.config.task.labels, drawn.texts[Row(0)])
        problem = problem_of(drawn, scorer)
        begun = Start.ANCHOR if start == "anchor" else Start.RANDOM
        numbers = replace(problem.parameters, folds=arguments.folds, rounds=arguments.rounds, start=begun)
        problem = replace(problem, parameters=numbers)
        inverted = State(phase=Phase.TRAIN, labels={row: Label(1 - label) for row, label in drawn.gold.items()})
        search = run(Answering(scorer, problem), Scalable(), inverted if start == "inverted" else None)
        yield scalable_row(search, start, seed, drawn.gold)


def scalable_row(search: FinishedSearch, start: str, seed: int, gold: Mapping[Row, Label]) -> str:
    """The line of a run: accuracy before the first round and after each, trial of polarity, trainings, CPU seconds."""
    first, *after = search.accuracies(gold, Phase.TRAIN)
    rounds = ", ".join(f"{share:.3f}" for share in [*after, accuracy(search.end.labels, gold)])
    seconds = search.answering.training_seconds
    return (
        f"| {start} | {seed} | {first:.3f} | {rounds} | {search.trial} | {len(seconds)} "
        f"| {search.answering.context_seconds:.0f} | {sum(seconds):.0f} |\n"
    )


def iterative_rows(arguments: argparse.Namespace) -> Iterator[str]:
    """Run strategy `iterative`, and label the same rows behind one anchor to compare; yields two lines per seed."""
    scorer = LocalScorer(load_model(str(SMALL_MODEL)), LABELS)
    yield _ITERATIVE_HEAD
    for seed in arguments.seeds:
        data = related("comparisons", arguments.rows, seed, FORM)
        problem = data.problem(parameters(seed, arguments.batch_rows))
        tokens = {row: scorer.count(problem.demonstration(row, Label(0))) for row in problem.rows}
        budget = scorer.context_tokens - 2 - max(tokens.values())
        problem = replace(problem, demonstration_tokens=tokens, budget_tokens=budget)
        search = run(Answering(scorer, problem), Iterative())
        yield iterative_row(search, "iterative", seed, problem, data.gold)
        scorer.forget()
        behind = run(Answering(scorer, problem), BehindOneAnchor())
        yield iterative_row(behind, "behind one anchor", seed, problem, data.gold)


class BehindOneAnchor:
    """Labels rows like a job of strategy `folds`: searches the first part in context, reads all others behind it."""

    def step(self, problem: Problem, state: State) -> Step:
        """A step of the anchor's search, or the last one."""
        match state.phase:
            case Phase.EXTEND:
                state = yield from extend_to_all(problem, state)
                return state.enter(Phase.DONE)
        rows = first_part(problem, problem.parameters.anchor_rows)
        return (yield from search_first_part(problem, state, rows, Phase.EXTEND))


def iterative_row(search: FinishedSearch, name: str, seed: int, problem: Problem, gold: Mapping[Row, Label]) -> str:
    """Accuracy of all rows, and of each batch."""
    labels = search.end.labels
    by_batch = ", ".join(f"{accuracy({row: labels[row] for row in batch}, gold):.3f}" for batch in batches_of(problem))
    seconds = search.answering.training_seconds
    return (
        f"| {seed} | {name} | {accuracy(labels, gold):.4f} | {by_batch} | {search.answering.context_seconds:.0f} "
        f"| {sum(seconds):.0f} |\n"
    )


def parameters(seed: int, batch_rows: int) -> Parameters:
    """The search parameters of a job."""
    return Parameters(seed=seed, batch_rows=batch_rows)


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, dest="command")
    scalable = commands.add_parser("scalable", help="folds on rows of larger_than.jsonl, from several starts")
    scalable.add_argument("--data", type=Path, required=True, help="folder with larger_than.jsonl")
    scalable.add_argument("--rows", type=int, default=256)
    scalable.add_argument("--folds", type=int, default=4)
    scalable.add_argument("--rounds", type=int, default=5)
    scalable.add_argument("--starts", nargs="+", default=STARTS, choices=STARTS)
    scalable.add_argument("--seeds", type=int, nargs="+", default=[0])
    scalable.set_defaults(lines=scalable_rows)
    iterative = commands.add_parser("iterative", help="batches of comparisons of the small model's world")
    iterative.add_argument("--rows", type=int, default=2560)
    iterative.add_argument("--batch-rows", type=int, default=256)
    iterative.add_argument("--seeds", type=int, nargs="+", default=[0])
    iterative.set_defaults(lines=iterative_rows)
    return parser.parse_args()


def main() -> None:
    """Run the benchmark and print its lines."""
    arguments = read_arguments()
    torch.set_num_threads(1)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
    for text in arguments.lines(arguments):
        sys.stdout.write(text)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
