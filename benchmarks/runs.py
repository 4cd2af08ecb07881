"""One run: a strategy on a data set with a seed, and everything measured about it."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from benchmarks import counting, measures
from benchmarks.data import Dataset, even_name, related, unrelated
from benchmarks.local import Found, LocalScorer, resolve, search
from benchmarks.sharded import is_one_shard, label_all
from benchmarks.strategies import GOLD, STRATEGIES
from service.identifiers import Label, Row
from service.search.moves.repair import repair
from service.search.predictions.prompt_tree import Usage
from service.search.prompting import evaluation
from service.search.rules.consistency import Labels
from service.search.state.problem import Parameters, Problem
from service.search.state.steps import Phase, State

FORM = "statement, question mark"
TRUTH, EVEN_NAME = "truth", "even name"
_FEW_SHOT_DRAWS = 4

Measured = Mapping[str, float | str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The parameters of a run. Two experiments with the same run share it."""

    task: str
    rows: int
    seed: int  # of the rows and of the search
    strategy: str  # a name in STRATEGIES, or GOLD
    relations: bool = True
    share_true: float | None = None  # rows drawn singly, without relations, this share of them true
    concept: str = TRUTH  # of the gold labels
    start: str = "random"  # of the K first labels of Algorithm 1: "random", "wrong" or "gold"
    draws_per_row: float = Parameters.draws_per_row
    fresh: int = 0  # fresh rows to be labelled behind the labels found
    counted: bool = False  # tokens alone are counted, the language model stood in for (counting.py)

    @property
    def key(self) -> str:
        """The run in one line, without parameters that have their defaults."""
        plain = asdict(Run(task=self.task, rows=self.rows, seed=self.seed, strategy=self.strategy))
        more = [f"{name}={value}" for name, value in asdict(self).items() if plain[name] != value]
        return " ".join([self.task, f"N={self.rows}", f"seed={self.seed}", self.strategy, *more])


def execute(run: Run, scorer: LocalScorer) -> Measured:
    """Make the run, with an empty prefix cache, and measure it."""
    scorer.forget()
    data = _dataset(run)
    exact = run.strategy == GOLD or STRATEGIES[run.strategy].exact
    problem = data.problem(Parameters(seed=run.seed, draws_per_row=run.draws_per_row, exact_scores=exact))
    if run.counted:
        return counting.count(problem, data.gold, STRATEGIES[run.strategy].make(), scorer)
    began = time.perf_counter()
    found, printed = _find(run, data, problem, scorer)
    seconds = time.perf_counter() - began
    return {
        **_cost(found.usage, problem, scorer),
        "iterations_per_row": found.state.iterations / len(problem.rows),
        "seconds": round(seconds, 2),
        **_quality(data, problem, found.state.labels, scorer),
        **({} if printed is None else _printed(data, printed)),
        **(_on_fresh_rows(run, data, problem, found.state.labels, scorer) if run.fresh else {}),
    }


def _dataset(run: Run) -> Dataset:
    if run.share_true is not None:
        return unrelated(run.task, run.rows, run.seed, FORM, run.share_true, fresh=run.fresh)
    data = related(run.task, run.rows, run.seed, FORM, fresh=run.fresh)
    if run.concept == EVEN_NAME:
        return data.regarded(even_name)
    return data if run.relations else replace(data, constraints=())


def _find(run: Run, data: Dataset, problem: Problem, scorer: LocalScorer) -> tuple[Found, Labels | None]:
    """The search's result; for Algorithm 1 also its labels as printed, that is before permutations are tried."""
    if run.strategy == GOLD:
        return Found(State(phase=Phase.DONE, labels=data.gold), Usage()), None
    contender = STRATEGIES[run.strategy]
    if not contender.rescores:
        return label_all(problem, contender.make(), scorer), None
    state = None if run.start == "random" else _started(run, data, problem, scorer)
    printed = search(problem, contender.make(), scorer, state=state, until=Phase.POLARITY)
    found = search(problem, contender.make(), scorer, state=printed.state)
    return replace(found, usage=scorer.usage), printed.state.labels


def _started(run: Run, data: Dataset, problem: Problem, scorer: LocalScorer) -> State:
    """Algorithm 1 after its lines 1-2, where the K first labels are all wrong, or all gold."""
    rng = problem.random("given start")
    rows = rng.sample(problem.rows, min(problem.parameters.seed_labels, len(problem.rows)))
    labels = {row: data.gold[row] if run.start == "gold" else Label(1 - data.gold[row]) for row in rows}
    [candidate] = resolve(evaluation.leave_one_out(problem, labels), scorer)
    candidate = resolve(repair(problem, candidate, rng), scorer)
    return State(phase=Phase.DRAW, labels=candidate.labels, scores=candidate.scores)


def _cost(usage: Usage, problem: Problem, scorer: LocalScorer) -> dict[str, float | str]:
    """Tokens and prompts per row; tokens in units of L, the mean length of a row as a demonstration."""
    length = measures.mean_demonstration_tokens(problem, scorer)
    unit = length * len(problem.rows)
    return {
        "demonstration_tokens": round(length, 3),
        "prompts_per_row": usage.prompts / len(problem.rows),
        "sent": usage.tokens_sent / unit,
        "computed": usage.tokens_computed / unit,
    }


def _quality(
    data: Dataset, problem: Problem, labels: Mapping[Row, Label], scorer: LocalScorer
) -> dict[str, float | str]:
    quality: dict[str, float | str] = {
        "labelled": len(labels) / len(data.gold),
        "accuracy": measures.accuracy(labels, data.gold),
        "share_true": measures.share_true(labels),
        "conflicts": float(len(problem.constraints.conflicts(labels))),
        "verdict": measures.verdict(labels, data.gold),
    }
    if is_one_shard(problem):
        exact = measures.exact(problem, labels, data.gold, scorer)
        quality |= {"utility": exact.utility, "many_shot": exact.accuracy}
    return quality


def _printed(data: Dataset, labels: Labels) -> dict[str, float | str]:
    return {
        "printed_accuracy": measures.accuracy(labels, data.gold),
        "printed_verdict": measures.verdict(labels, data.gold),
    }


def _on_fresh_rows(
    run: Run, data: Dataset, problem: Problem, labels: Mapping[Row, Label], scorer: LocalScorer
) -> dict[str, float | str]:
    """Accuracy on fresh rows behind the labels; for gold also that of zero-shot and of random labels."""
    quality: dict[str, float | str] = {"fresh": measures.prompted_accuracy(problem, labels, data.fresh, scorer)}
    if run.strategy == GOLD:
        shots = problem.parameters.seed_labels
        return quality | {
            "fresh_zero_shot": measures.prompted_accuracy(problem, {}, data.fresh, scorer),
            "fresh_random_few_shot": measures.random_few_shot(data, problem, scorer, shots, _FEW_SHOT_DRAWS),
        }
    noisy = measures.equally_accurate(problem, labels, data.gold)
    return quality | {
        "fresh_noise": measures.prompted_accuracy(problem, noisy, data.fresh, scorer),
        "noise_utility": measures.exact(problem, noisy, data.gold, scorer).utility,
    }
