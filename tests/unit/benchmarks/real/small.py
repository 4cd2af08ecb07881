"""Small material for tests of the benchmark on real language models: a cell, rows of a toy world, a measured run."""

from dataclasses import dataclass, field, replace

from benchmarks.real.cells import Cell, problem_of
from benchmarks.real.outcome import Material
from benchmarks.real.scorer import Loaded, RealScorer
from benchmarks.real.tasks import Drawn
from service.config import JobConfig, Task
from service.identifiers import Row
from service.search.predictions.prompt_tree import TreeScores, Usage
from service.search.state.problem import Problem
from service.search.state.steps import Request
from tests.toy import ToyWorld

ROWS = 8
CELL = Cell(task="sst2", model="small", seed=0, method="zero_shot", rows=ROWS)


def problem(small: Loaded, drawn: Drawn) -> tuple[Problem, RealScorer]:
    scorer = RealScorer(small, drawn.config.task.labels, drawn.texts[Row(0)])
    return problem_of(drawn, scorer), scorer


@dataclass
class ToyScorer:
    """A toy world that scores trees."""

    world: ToyWorld
    usage: Usage = field(default_factory=Usage)

    def answer(self, request: Request) -> list[TreeScores]:
        return [self.world.answer(tree) for tree in request]

    def count(self, text: str) -> int:
        return len(text)


def toy(classes: int, *, home: float = 1.0, rows: int = 12) -> tuple[Material, ToyScorer]:
    """Rows of a toy world, and four more as known ones."""
    world = ToyWorld(rows=rows + 4, classes=classes, related=False, seed=1, home=home)
    whole = world.problem()
    inside = {row: text for row, text in whole.texts.items() if row < rows}
    known = [(text, world.planted[row]) for row, text in whole.texts.items() if row not in inside]
    material = Material(
        config=JobConfig(task=Task(template="{text}", labels=list(whole.labels))),
        problem=replace(whole, texts=inside),
        gold={row: world.planted[row] for row in inside},
        known=known,
        known_tokens=[len(text) for text, _ in known],
    )
    return material, ToyScorer(world)


def measured(**changes: object) -> dict[str, object]:
    usual: dict[str, object] = {
        "auroc": None, "calibration_error": 0.1, "utility": -20.0, "sent": 2.0, "computed": 1.0, "seconds": 3.0,
    }  # fmt: skip
    return usual | changes
