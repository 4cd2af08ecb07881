"""Which runs each experiment is made of."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from benchmarks.runs import EVEN_NAME, Run
from benchmarks.strategies import GOLD, STRATEGIES
from service.search.state.problem import Parameters

FOLDS, PAPER = "folds", "paper"
PRINTED_DRAWS = Parameters.draws_per_row


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How large the experiments are."""

    name: str
    rows: int = 256  # of the comparison of strategies
    few_rows: int = 48  # where Algorithm 1 runs in full, again and again
    counted_rows: tuple[int, ...] = (48, 64, 128, 256)
    many_rows: int = 1024
    seeds: int = 5
    rescored_seeds: int = 2  # of strategies that rescore, at `rows` rows
    imbalance_seeds: int = 10
    fresh: int = 96
    tasks: tuple[str, ...] = ("comparisons", "capitals", "cities", "additions")
    few_tasks: tuple[str, ...] = ("comparisons", "cities")
    draws_per_row: float = 0.25  # of strategies that rescore, at `rows` rows

    @property
    def seed_range(self) -> range:
        """Seeds of most experiments."""
        return range(self.seeds)


QUICK = Scale(
    name="quick",
    rescored_seeds=1,
    rows=16,
    few_rows=12,
    counted_rows=(8, 12),
    many_rows=24,
    seeds=1,
    imbalance_seeds=1,
    fresh=8,
    tasks=("comparisons", "cities"),
)
DEFAULT = Scale(name="default")
FULL = Scale(name="full", few_rows=64, draws_per_row=PRINTED_DRAWS, rescored_seeds=5)
SCALES: Mapping[str, Scale] = {scale.name: scale for scale in (QUICK, DEFAULT, FULL)}


def coherence(scale: Scale) -> Iterator[Run]:
    """Every strategy and baseline, and gold, on the same rows."""
    for task, seed in product(scale.tasks, scale.seed_range):
        for name, contender in STRATEGIES.items():
            draws = scale.draws_per_row if contender.rescores else PRINTED_DRAWS
            if not contender.rescores or seed < scale.rescored_seeds:
                yield Run(task=task, rows=scale.rows, seed=seed, strategy=name, draws_per_row=draws)
        yield Run(task=task, rows=scale.rows, seed=seed, strategy=GOLD)


def tokens(scale: Scale) -> Iterator[Run]:
    """Tokens against the number of rows: measured where nothing is rescored, else counted."""
    task = scale.tasks[0]
    for seed in scale.seed_range:
        for rows in scale.counted_rows:
            for name, contender in STRATEGIES.items():
                yield Run(task=task, rows=rows, seed=seed, strategy=name, counted=contender.rescores)
        yield Run(task=task, rows=scale.many_rows, seed=seed, strategy=FOLDS)


def imbalance(scale: Scale) -> Iterator[Run]:
    """Few or many true claims, and no relations."""
    for task, share, seed in product(scale.few_tasks, (0.9, 0.1), range(scale.imbalance_seeds)):
        for name in (FOLDS, GOLD):
            yield Run(task=task, rows=scale.few_rows, seed=seed, strategy=name, relations=False, share_true=share)


def methods(scale: Scale) -> Iterator[Run]:
    """Fig. 3, Fig. 8 and Table 3: zero-shot, few-shot, every strategy and gold, judged on fresh rows."""
    for task, seed, name in product(scale.few_tasks, scale.seed_range, (*STRATEGIES, GOLD)):
        yield Run(task=task, rows=scale.few_rows, seed=seed, strategy=name, fresh=scale.fresh)


def start(scale: Scale) -> Iterator[Run]:
    """Fig. 9: the K first labels random (runs of `methods`), all wrong, or gold."""
    for task, seed in product(scale.few_tasks[:1], scale.seed_range):
        yield Run(task=task, rows=scale.few_rows, seed=seed, strategy=PAPER, fresh=scale.fresh)
        for first in ("wrong", "gold"):
            yield Run(task=task, rows=scale.few_rows, seed=seed, strategy=PAPER, start=first)


def consistency(scale: Scale) -> Iterator[Run]:
    """Fig. 10: with the relations (runs of `methods`) and without."""
    for task, seed, name in product(scale.few_tasks[:1], scale.seed_range, (PAPER, FOLDS)):
        yield Run(task=task, rows=scale.few_rows, seed=seed, strategy=name, fresh=scale.fresh)
        yield Run(task=task, rows=scale.few_rows, seed=seed, strategy=name, relations=False)


def salience(scale: Scale) -> Iterator[Run]:
    """Fig. 5: gold labels that follow a concept the language model does not hold of these rows."""
    for seed in scale.seed_range:
        for name in (FOLDS, GOLD):
            yield Run(
                task="cities",
                rows=scale.few_rows,
                seed=seed,
                strategy=name,
                relations=False,
                concept=EVEN_NAME,
                fresh=scale.fresh,
            )


EXPERIMENTS: Mapping[str, Callable[[Scale], Iterator[Run]]] = {
    "coherence": coherence,
    "tokens": tokens,
    "imbalance": imbalance,
    "methods": methods,
    "start": start,
    "consistency": consistency,
    "salience": salience,
}


def planned(names: list[str], scale: Scale) -> list[Run]:
    """The runs of these experiments, each once, the longest first so that no process ends up alone with them."""
    runs = dict.fromkeys(run for name in names for run in EXPERIMENTS[name](scale))
    return sorted(runs, key=_size, reverse=True)


def _size(run: Run) -> float:
    rescores = run.strategy in STRATEGIES and STRATEGIES[run.strategy].rescores
    work = run.draws_per_row * run.rows / 8 if rescores and not run.counted else 1.0
    return run.rows * max(1.0, work) * (0.1 if run.strategy == GOLD or run.counted else 1.0)
