"""The input and the outcome of a labelling method."""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field

from service.config import JobConfig
from service.identifiers import Label, Row
from service.search.predictions.scores import Scores, likeliest_each
from service.search.rules.consistency import Labels
from service.search.state.problem import Problem
from service.search.state.steps import Answer, Request


@dataclass(frozen=True, slots=True)
class Met:
    """A labelling that a method met on its way, and the measure by which the method chooses: the higher the better."""

    measure: float
    labels: Labels


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Labels, and each labelled row's log-probabilities over the label set (nats) in the method's last prompts.

    `facts` are the method's own. `met` is empty for a method that does not choose among labellings. `ablated` has
    the labels that the method would have given without one of its pieces, where that can be told.
    """

    labels: Labels
    scores: Scores
    facts: Mapping[str, object] = field(default_factory=dict)
    met: Sequence[Met] = ()
    ablated: Mapping[str, Labels] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """A problem, with gold labels and further labelled rows, which only some methods may read.

    The known rows fit a prompt together, in front of any row; `known_tokens` are those of each as demonstration.
    """

    config: JobConfig
    problem: Problem
    gold: Mapping[Row, Label]
    known: Sequence[tuple[str, Label]]
    known_tokens: Sequence[int]


Finding = Generator[Request, Answer, Outcome]
Find = Callable[[Material], Finding]


def from_scores(scores: Scores, **facts: object) -> Outcome:
    """The likeliest label of every row."""
    return Outcome(labels=likeliest_each(scores), scores=scores, facts=facts)
