"""The form of every search: a state, and steps that ask for scores and lead to the next state.

A step is a generator: it yields the prompt trees whose scores it needs, is sent the
answers, and returns the next state. Between steps a state is a plain value that can be
stored; a step that was cut off is taken again from its beginning, with the same randomness,
since that depends on the seed and the step's number alone.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol, Unpack

from service.identifiers import Label, Row
from service.search.predictions.panel import Panel
from service.search.predictions.prompt_tree import PromptTree, TreeScores
from service.search.predictions.scores import Scores, normalized
from service.search.rules.consistency import Labels
from service.search.state.facts import SearchFacts
from service.search.state.objective import utility
from service.search.state.problem import Problem

Request = Sequence[PromptTree]
Answer = Sequence[TreeScores]


class StopReason(StrEnum):
    """Why a search ended."""

    CONVERGED = "converged"  # a sweep changed no label
    SWEEPS_DONE = "sweeps_done"  # the planned sweeps were made
    DRAWS_DONE = "draws_done"  # the planned iterations of Algorithm 1 were made
    ROUNDS_DONE = "rounds_done"  # the planned rounds of a bootstrap were made
    ASKED_ONCE = "asked_once"  # every row was asked for once: a baseline, or a shard behind its anchor
    NOT_BORNE_OUT = "not_borne_out"  # demonstrations tell nothing, and the labels of the first impression stand
    LIMIT = "limit"  # a limit of the job was reached


class Phase(StrEnum):
    """What the next step does."""

    START = "start"  # random labels, or restarts on a small set
    GROW = "grow"  # label more rows
    SWEEP = "sweep"  # rescore and redraw
    DRAW = "draw"  # one iteration of Algorithm 1
    COMPLETE = "complete"  # label what is left
    POLARITY = "polarity"  # try the permutations of the label set
    SCORE = "score"  # every row given all others, exactly
    AUDIT = "audit"  # permuted and shuffled labels, baselines: facts for the report
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A labelling of all rows at hand, the scores of its rows given the others, and its utility."""

    labels: Mapping[Row, Label]
    scores: Scores
    utility: float


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """All a search needs to go on."""

    phase: Phase = Phase.START
    step: int = 0  # steps taken in all
    round: int = 0  # steps taken in this phase
    labels: Mapping[Row, Label] = field(default_factory=dict)
    scores: Scores = field(default_factory=dict)  # of the labels as they are, where known
    raw: Scores = field(default_factory=dict)  # where `scores` are calibrated: what the language model said, pooled
    impression: Scores = field(default_factory=dict)  # of all rows, without demonstrations that were found
    source: Panel | None = None  # of the impression, where known rows stand before it
    best: Candidate | None = None
    starts: Sequence[Candidate] = ()  # labellings of the small set, one for each start
    iterations: int = 0  # changes proposed: draws of Algorithm 1, groups redrawn by sweeps
    accepted: int = 0  # changes made
    unproven: int = 0  # redraws of large groups whose best labelling was not proven to be the best
    turned: bool = False  # whether a permutation has taken the labelling's place
    panel: Panel | None = None  # what later shards are labelled by
    facts: SearchFacts = field(default_factory=SearchFacts)  # for the report; no search is steered by them
    stop: StopReason | None = None

    @property
    def raw_scores(self) -> Scores:
        """Scores that nothing has calibrated; none before the end of a search that calibrates by its impression."""
        return self.raw if self.raw or self.impression else self.scores

    def enter(self, phase: Phase, **changes: object) -> "State":
        """The state at the beginning of a phase."""
        return replace(self, phase=phase, **{"round": 0, **changes})  # type: ignore[arg-type]  # fields of State by name

    def noting(self, **facts: Unpack[SearchFacts]) -> "State":
        """The state with facts added."""
        return replace(self, facts={**self.facts, **facts})


Step = Generator[Request, Answer, State]


class Strategy(Protocol):
    """A way to search."""

    def step(self, problem: Problem, state: State) -> Step:
        """One step from this state; never called in phase DONE."""


def ask(*trees: PromptTree) -> Generator[Request, Answer, list[Scores]]:
    """Ask for trees at once; normalized scores of each."""
    answers = yield trees
    return [{row: normalized(values) for row, values in answer.log_probabilities.items()} for answer in answers]


def better(first: Candidate | None, second: Candidate) -> Candidate:
    """The one of higher utility; of equals the first."""
    return second if first is None or second.utility > first.utility else first


def as_candidate(problem: Problem, labels: Labels, scores: Scores) -> Candidate:
    """A labelling with the utility that these scores give it."""
    return Candidate(dict(labels), dict(scores), utility(problem, labels, scores))
