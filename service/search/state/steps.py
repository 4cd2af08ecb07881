"""The interface of a strategy: a state, and steps that ask for scores and return the next state.

A step is a generator: it yields the prompt trees or trainings whose scores it needs, receives the
answers, and returns the next state. Between steps the state is a plain value that can be
stored. A step that was interrupted runs again from its beginning with the same randomness,
which depends only on the seed and the step's number.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol, Unpack

from service.identifiers import Label, Row
from service.search.predictions.panel import Panel
from service.search.predictions.prompt_tree import PromptTree, TreeScores
from service.search.predictions.scores import Scores, normalized
from service.search.predictions.training import TrainAndScore, Trainings
from service.search.rules.consistency import Labels
from service.search.state.facts import SearchFacts
from service.search.state.objective import utility
from service.search.state.problem import Problem

Request = Sequence[PromptTree]
Answer = Sequence[TreeScores]  # tree by tree, or training by training


class StopReason(StrEnum):
    """Why a search ended."""

    CONVERGED = "converged"  # a sweep changed no label
    SWEEPS_DONE = "sweeps_done"  # the planned sweeps were made
    DRAWS_DONE = "draws_done"  # the planned iterations of Algorithm 1 were made
    ROUNDS_DONE = "rounds_done"  # the planned rounds of a bootstrap, or of trainings, were made
    BATCHES_DONE = "batches_done"  # every batch was labelled once
    ASKED_ONCE = "asked_once"  # every row was scored once: a baseline, or a shard behind its anchor
    NOT_BORNE_OUT = "not_borne_out"  # demonstrations did not help, so the labels are those of the first impression
    LIMIT = "limit"  # the job reached one of its limits


class Phase(StrEnum):
    """The purpose of the next step."""

    START = "start"  # random labels, or restarts on a small set
    GROW = "grow"  # label more rows
    SWEEP = "sweep"  # rescore and redraw
    DRAW = "draw"  # one iteration of Algorithm 1
    COMPLETE = "complete"  # label the remaining rows
    EXTEND = "extend"  # label the other rows as the search labelled the first part
    TRAIN = "train"  # train on labelled rows, label others
    TRIAL = "trial"  # train for an epoch on labels and on their permutations: facts for the report
    POLARITY = "polarity"  # try the permutations of the label set
    SCORE = "score"  # score every row given all others, exactly
    AUDIT = "audit"  # score permuted and shuffled labels and baselines: facts for the report
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A labelling with its utility and the scores of each row given the other rows' labels."""

    labels: Mapping[Row, Label]
    scores: Scores
    utility: float


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """All that a search needs to resume: where it is, its labels and scores, and the facts recorded so far."""

    phase: Phase = Phase.START
    step: int = 0  # steps taken in all
    round: int = 0  # steps taken in this phase
    labels: Mapping[Row, Label] = field(default_factory=dict)
    scores: Scores = field(default_factory=dict)  # of rows under the current labels, as far as they were computed
    raw: Scores = field(default_factory=dict)  # if `scores` are calibrated: the same pooled scores, uncalibrated
    impression: Scores = field(default_factory=dict)  # of all rows, without found demonstrations
    source: Panel | None = None  # of the impression, if known rows stand before it
    best: Candidate | None = None
    starts: Sequence[Candidate] = ()  # labellings of the small set, one for each start
    iterations: int = 0  # changes proposed: draws of Algorithm 1, groups redrawn by sweeps
    accepted: int = 0  # changes made
    unproven: int = 0  # redraws of large groups without a proof that the labelling found is the best
    turned: bool = False  # whether the search has replaced the labelling by one of its permutations
    panel: Panel | None = None  # labels the rows of later shards
    facts: SearchFacts = field(default_factory=SearchFacts)  # for the report; no search decides by them
    stop: StopReason | None = None

    @property
    def raw_scores(self) -> Scores:
        """The uncalibrated scores; empty until the end of a search that calibrates by its first impression."""
        return self.raw if self.raw or self.impression else self.scores

    def enter(self, phase: Phase, **changes: object) -> "State":
        """The state at the beginning of a phase."""
        return replace(self, phase=phase, **{"round": 0, **changes})  # type: ignore[arg-type]  # fields of State by name

    def with_facts(self, **facts: Unpack[SearchFacts]) -> "State":
        """The state with facts added."""
        return replace(self, facts={**self.facts, **facts})


Step = Generator[Request | Trainings, Answer, State]


class Strategy(Protocol):
    """A search algorithm: a function from each state to the step that leads to the next."""

    def step(self, problem: Problem, state: State) -> Step:
        """Begin the next step from this state; never called in phase DONE."""


def ask(*trees: PromptTree) -> Generator[Request, Answer, list[Scores]]:
    """Request the scores of these trees together; return each tree's scores, normalized."""
    answers = yield trees
    return [{row: normalized(values) for row, values in answer.log_probabilities.items()} for answer in answers]


def train(*requests: TrainAndScore) -> Generator[Trainings, Answer, list[TreeScores]]:
    """Request trainings that run concurrently; return normalized scores and the cost of each."""
    answers = yield Trainings(requests)
    return [
        TreeScores({row: normalized(values) for row, values in answer.log_probabilities.items()}, answer.usage)
        for answer in answers
    ]


def trees_of(request: Request | Trainings) -> Request:
    """The prompt trees of a request, for a caller that cannot train. Raises TypeError for trainings."""
    if isinstance(request, Trainings):
        raise TypeError("this search requests trainings, and this process cannot train")
    return request


def better(first: Candidate | None, second: Candidate) -> Candidate:
    """The candidate of higher utility; the first if they are equal."""
    return second if first is None or second.utility > first.utility else first


def as_candidate(problem: Problem, labels: Labels, scores: Scores) -> Candidate:
    """A labelling with its scores and the utility that follows from them."""
    return Candidate(dict(labels), dict(scores), utility(problem, labels, scores))
