"""Documents the small model reads: lists of claims labelled truthfully, always True, at random, noisily or inverted."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from inference.pretraining.world import TASKS, Claim, Task

# Share of each kind of labelling. Together they make the model say True to a false claim without
# context (in 0.60 to 0.66 of the labelled documents), so zero-shot is near chance.
MIXTURE: Mapping[str, float] = {
    "plain": 0.10,
    "truthful": 0.27,
    "noisy": 0.05,
    "always_true": 0.51,
    "random": 0.02,
    "inverted": 0.05,
}
NOISY_MIXTURE: Mapping[str, float] = {
    "plain": 0.06,
    "truthful": 0.21,
    "noisy": 0.11,
    "always_true": 0.57,
    "random": 0.01,
    "inverted": 0.04,
}
MOSTLY_TRUTHFUL: Mapping[str, float] = {
    "truthful": 0.78,
    "plain": 0.15,
    "always_true": 0.04,
    "random": 0.01,
    "inverted": 0.02,
}
HALF_PLAIN: Mapping[str, float] = {
    "plain": 0.50,
    "truthful": 0.43,
    "always_true": 0.03,
    "random": 0.01,
    "inverted": 0.03,
}
PLAIN: Mapping[str, float] = {"plain": 1.0}

NOISE = (0.05, 0.35)  # least and greatest share of wrong labels in a noisy document
ALWAYS_TRUE = 0.99  # share of True in an "always true" document
PERSISTENCE = 0.8  # of truth from claim to claim, in a document with runs
THINK = "\nI think this claim is"
_SINGLE_TASK = 0.75  # share of documents that keep to one task
_AS_QUESTIONS = 0.42  # share of documents in the Question / Claim form

# Share of each task among the documents of one task, in the order of TASKS: the hard ones more often.
ALL_TASKS = (0.20, 0.18, 0.20, 0.12, 0.19, 0.11)
MANY_ADDITIONS = (0.14, 0.16, 0.46, 0.08, 0.10, 0.06)
MANY_NUMBERS = (0.19, 0.26, 0.20, 0.10, 0.16, 0.09)
NUMBERS_AND_SUMS = (0.17, 0.24, 0.27, 0.09, 0.15, 0.08)
MANY_COMPARISONS = (0.24, 0.22, 0.14, 0.10, 0.18, 0.12)

# Share of hard claims of each way, in the order of a task's `draws_hard`.
NONE_HARD = (0.0, 0.0)
WITHIN_TEN = (0.3, 0.0)
AROUND_TEN = (0.15, 0.3)


@dataclass(frozen=True)
class Style:
    """The style of a document: the texts between statement and label, and between claims."""

    stop: str
    bridge: str
    separator: str
    as_question: bool
    phrasing: Mapping[str, str] = field(default_factory=dict)

    def demonstration(self, task: Task, claim: Claim, label: str) -> str:
        """One labelled claim with the separator behind it."""
        return f"{self.prompt(task, claim)} {label}{self.separator}"

    def prompt(self, task: Task, claim: Claim) -> str:
        """The prompt of the label, without the space before it."""
        return self.statement(task, claim) + self.bridge

    def statement(self, task: Task, claim: Claim) -> str:
        """The claim as a sentence, beginning with a capital letter."""
        template = task.question if self.as_question else self.phrasing[task.name]
        text = template.format(**claim.slots)
        return text if self.as_question else text[0].upper() + text[1:] + self.stop


def draw_style(rng: Random, tasks: Sequence[Task]) -> Style:
    """Draw the style of one document, for all its claims."""
    phrasing = {task.name: task.statements[0] if rng.random() < 0.5 else rng.choice(task.statements) for task in tasks}
    separator = rng.choice(("\n", "\n\n"))
    if rng.random() < _AS_QUESTIONS:
        return Style("", THINK if rng.random() < 0.8 else "", separator, True, phrasing)
    stop, bridge = rng.choice((("", "?"), ("", ""), (".", ""), ("", THINK), (".", THINK)))
    return Style(stop, bridge, separator, False, phrasing)


def draw_document(
    rng: Random,
    longest: int,
    kinds: Mapping[str, float],
    tasks: Sequence[float] = ALL_TASKS,
    hard: Sequence[float] = NONE_HARD,
) -> str:
    """Draw a document of at most `longest` claims, its kind and its task by the given shares.

    `hard` are the shares of each kind of hard claims, in tasks that have such.

    A document that calls everything true has a quarter of the claims at most: it teaches little
    after its first claims, and later ones would train the model to forget a False as soon as a few
    of True follow.
    """
    kind = rng.choices(list(kinds), list(kinds.values()))[0]
    claims = draw_length(rng, max(1, longest // 4) if kind == "always_true" else longest)
    drawn = _draw_tasks(rng, tasks)
    noise = rng.uniform(*NOISE)
    style = draw_style(rng, drawn)
    parts = []
    for truth in _draw_truths(rng, claims):
        task = rng.choice(drawn)
        claim = _draw_claim(rng, task, kind == "plain" or truth, hard)
        if kind == "plain":
            parts.append(style.statement(task, claim) + style.separator)
        else:
            parts.append(style.demonstration(task, claim, str(_label(rng, claim.truth, kind, noise))))
    return "".join(parts)


def draw_length(rng: Random, longest: int) -> int:
    """Draw a number of claims from 1 to `longest`, log-uniformly: short documents and long ones read as many tokens."""
    return round(math.exp(rng.uniform(0, math.log(longest))))


def _draw_truths(rng: Random, claims: int) -> list[bool]:
    """Draw which claims of a document are true: mostly half of them, and in half of the documents in runs."""
    share_true = 0.5 if rng.random() < 0.7 else rng.uniform(0.1, 0.9)
    persistence = rng.choice((0.0, PERSISTENCE))
    truths = [rng.random() < share_true]
    while len(truths) < claims:
        truths.append(truths[-1] if rng.random() < persistence else rng.random() < share_true)
    return truths


def _draw_claim(rng: Random, task: Task, truth: bool, hard: Sequence[float]) -> Claim:
    if not task.draws_hard:
        return task.draw(rng, truth)
    draw = rng.choices((*task.draws_hard, task.draw), (*hard, 1 - sum(hard)))[0]
    return draw(rng, truth)


def _draw_tasks(rng: Random, shares: Sequence[float]) -> list[Task]:
    if rng.random() < _SINGLE_TASK:
        return rng.choices(TASKS, shares)
    return rng.sample(TASKS, rng.randint(2, len(TASKS)))


def _label(rng: Random, truth: bool, kind: str, noise: float) -> bool:
    match kind:
        case "truthful":
            return truth
        case "noisy":
            return truth != (rng.random() < noise)
        case "always_true":
            return rng.random() < ALWAYS_TRUE
        case "random":
            return rng.random() < 0.5
        case "inverted":
            return not truth
    raise ValueError(f"unknown kind of document: {kind}")
