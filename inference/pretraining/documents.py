"""Documents the small model reads: lists of claims labelled truthfully, always True, at random, noisily or inverted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from inference.pretraining.world import TASKS, Claim, Task

# Share of each way of labelling. Together they make the model say True to a false claim it
# meets without context (0.53 x 0.98 + 0.07 + 0.01 + 0.02 x 0.15 = 0.60), so zero-shot is near chance.
MIXTURE: Mapping[str, float] = {"truthful": 0.36, "noisy": 0.02, "always_true": 0.53, "random": 0.02, "inverted": 0.07}
MOSTLY_TRUTHFUL: Mapping[str, float] = {
    "truthful": 0.78,
    "plain": 0.15,
    "always_true": 0.04,
    "random": 0.01,
    "inverted": 0.02,
}
PLAIN: Mapping[str, float] = {"plain": 1.0}

NOISE = 0.15  # share of wrong labels in a noisy document
ALWAYS_TRUE = 0.98  # share of True in an "always true" document
THINK = "\nI think this claim is"
_SINGLE_TASK = 0.75  # share of documents that keep to one task
_TASK_WEIGHTS = (1.6, 1.6, 1.3, 1.0, 2.0, 1.1)  # in the order of TASKS: the hard ones more often


@dataclass(frozen=True)
class Style:
    """How one document writes its claims: what stands between statement and label, and between claims."""

    stop: str
    bridge: str
    separator: str
    as_question: bool
    phrasing: Mapping[str, str] = field(default_factory=dict)

    def demonstration(self, task: Task, claim: Claim, label: str) -> str:
        """One labelled claim with the separator behind it."""
        return f"{self.prompt(task, claim)} {label}{self.separator}"

    def prompt(self, task: Task, claim: Claim) -> str:
        """The text whose continuation is the label, without the space before it."""
        return self.statement(task, claim) + self.bridge

    def statement(self, task: Task, claim: Claim) -> str:
        """The claim as a sentence, beginning with a capital letter."""
        template = task.question if self.as_question else self.phrasing[task.name]
        text = template.format(**claim.slots)
        return text if self.as_question else text[0].upper() + text[1:] + self.stop


def draw_style(rng: Random, tasks: Sequence[Task]) -> Style:
    """Draw the way one document is written; it holds for all its claims."""
    phrasing = {task.name: task.statements[0] if rng.random() < 0.5 else rng.choice(task.statements) for task in tasks}
    separator = rng.choice(("\n", "\n\n"))
    if rng.random() < 0.35:
        return Style("", THINK if rng.random() < 0.8 else "", separator, True, phrasing)
    stop, bridge = rng.choice((("", "?"), ("", ""), (".", ""), ("", THINK), (".", THINK)))
    return Style(stop, bridge, separator, False, phrasing)


def draw_document(rng: Random, claims: int, kinds: Mapping[str, float]) -> str:
    """Draw a document of so many claims, its kind by the given shares; half as many where all are called true."""
    kind = rng.choices(list(kinds), list(kinds.values()))[0]
    if kind == "always_true":  # of which half teaches as much: little is left to learn behind its first claims
        claims = (claims + 1) // 2
    tasks = _draw_tasks(rng)
    style = draw_style(rng, tasks)
    share_true = 0.5 if rng.random() < 0.7 else rng.uniform(0.1, 0.9)
    parts = []
    for _ in range(claims):
        task = rng.choice(tasks)
        claim = task.draw(rng, kind == "plain" or rng.random() < share_true)
        if kind == "plain":
            parts.append(style.statement(task, claim) + style.separator)
        else:
            parts.append(style.demonstration(task, claim, str(_label(rng, claim.truth, kind))))
    return "".join(parts)


def _draw_tasks(rng: Random) -> list[Task]:
    if rng.random() < _SINGLE_TASK:
        return rng.choices(TASKS, _TASK_WEIGHTS)
    return rng.sample(TASKS, rng.randint(2, len(TASKS)))


def _label(rng: Random, truth: bool, kind: str) -> bool:
    match kind:
        case "truthful":
            return truth
        case "noisy":
            return truth != (rng.random() < NOISE)
        case "always_true":
            return rng.random() < ALWAYS_TRUE
        case "random":
            return rng.random() < 0.5
        case "inverted":
            return not truth
    raise ValueError(f"unknown kind of document: {kind}")
