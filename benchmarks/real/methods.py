"""Every method that is compared, by name: those of the service by a job's configuration, the others as written here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from benchmarks.real import ablations
from benchmarks.real.calibration import calibrated
from benchmarks.real.from_gold import redrawn_from_gold
from benchmarks.real.iterpsd import iterpsd
from benchmarks.real.joint_inference import joint_inference
from benchmarks.real.outcome import Find, Finding, Material, Met, Outcome, from_scores
from service.config import JobConfig, SearchConfig
from service.identifiers import Row
from service.jobs.task.problem import strategy_of
from service.search.engine import Search
from service.search.prompting import evaluation, planner
from service.search.rules.consistency import Labels
from service.search.state.problem import Problem
from service.search.state.steps import Candidate, Phase, State, ask, trees_of
from service.search.strategies import registry
from service.search.strategies.registry import StrategyName

MANY_SHOT_FOLDS = 8  # a row is shown the gold labels of seven eighths of the rows
SHARED_PARTS = 4  # of the rows, each with separate draws
RESCORING_ROWS = 32  # more rows would take a search that rescores all of them after each change too long


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """How to label. Methods with the same `find` share its prompts; `read` makes labels of its outcome.

    `gold` says which gold labels it is given; `most_rows` bounds the rows of its cells; an `extra` one
    is left out unless it is named.
    """

    find: Find
    read: Callable[[Outcome], Outcome] = lambda outcome: outcome
    gold: str = ""
    most_rows: int | None = None
    extra: bool = False


def _by_service(*, method: registry.Method = registry.Method.ICM, strategy: StrategyName = StrategyName.FOLDS) -> Find:
    """The labels that the service finds for a job of this method and strategy, without access to gold."""

    def find(material: Material) -> Finding:
        config, seed = material.config, material.config.search.seed
        search = SearchConfig(seed=seed, strategy=strategy)
        return _searched(JobConfig(task=config.task, method=method, search=search), material.problem)

    return find


def _searched(config: JobConfig, problem: Problem) -> Finding:
    """Run the configuration's search to its end; the best labellings of all rows after each step count as met."""
    running = Search(problem, strategy_of(config))
    bests: list[Candidate] = []
    swept: list[Met] = []
    ablated: dict[str, Labels] = {}
    while (request := running.ask()) is not None:
        before = running.state
        answer = yield trees_of(request)
        running.tell(answer)
        # With known rows the last look is another one.
        if before.phase is Phase.SCORE and before.impression and not problem.known:
            ablated = ablations.readings(problem, before, answer)
        best = running.state.best
        if best is not None and len(best.labels) == len(problem.rows) and best not in bests:
            bests.append(best)
        swept += _swept(before, running.state)
    state = running.state
    stop = None if state.stop is None else state.stop.value
    return Outcome(
        labels=state.labels,
        scores=state.scores,
        facts={**state.facts, "stop": stop, "iterations": state.iterations, "accepted": state.accepted},
        met=swept or [Met(best.utility, best.labels) for best in bests],
        ablated={**ablations.starts(state), **ablated} if state.impression else {},
    )


def _swept(before: State, after: State) -> list[Met]:
    """The labelling that the last step of the search has measured by a sweep, if it was one."""
    known, measured = (state.facts.get("sweep_utilities", []) for state in (before, after))
    return [Met(measured[-1], before.labels)] if len(measured) > len(known) else []


def _zero_shot(material: Material) -> Finding:
    [scores] = yield from ask(planner.behind(material.problem, (), {}, material.problem.rows))
    return from_scores(scores)


def _gold_few_shot(material: Material) -> Finding:
    """Every row behind the known rows' gold labels."""
    problem = material.problem
    numbered = {Row(-1 - number): known for number, known in enumerate(material.known)}
    labels = {row: label for row, (_, label) in numbered.items()}
    known = replace(problem, texts={row: text for row, (text, _) in numbered.items()}, constraint_list=())
    prefix = known.demonstrations(labels, labels)
    [scores] = yield from ask(planner.behind(replace(problem, prefix=prefix), (), {}, problem.rows))
    return from_scores(scores)


def _gold_many_shot(material: Material) -> Finding:
    """Every row behind the gold labels of the rows outside its fold, as many as fit."""
    problem = material.problem
    scores = yield from evaluation.by_folds(problem, problem.in_order(material.gold), MANY_SHOT_FOLDS)
    return from_scores(scores)


def _by_service_with_known(material: Material) -> Finding:
    """The labels that the service finds if its user has labelled 16 further rows, which are not measured."""
    problem = material.problem
    numbered = {Row(-1 - number): known for number, known in enumerate(material.known)}
    tokens = dict(zip(numbered, material.known_tokens, strict=True))
    whole = replace(
        problem,
        texts={**{row: text for row, (text, _) in numbered.items()}, **problem.texts},
        known={row: label for row, (_, label) in numbered.items()},
        demonstration_tokens={**tokens, **problem.demonstration_tokens},
    )
    found = yield from _searched(material.config, whole)
    kept = all(found.labels[row] == label for row, label in whole.known.items())
    return replace(
        found,
        labels={row: found.labels[row] for row in problem.rows},
        scores={row: found.scores[row] for row in problem.rows},
        facts={**found.facts, "known_kept": kept},
        met=[Met(met.measure, {row: met.labels[row] for row in problem.rows}) for met in found.met],
        ablated={name: {row: labels[row] for row in problem.rows} for name, labels in found.ablated.items()},
    )


METHODS: Mapping[str, Method] = {
    "zero_shot": Method(find=_zero_shot),
    "zero_shot_calibrated": Method(find=_zero_shot, read=calibrated),
    "few_shot_random": Method(find=_by_service(method=registry.Method.FEW_SHOT_RANDOM)),
    "bootstrap": Method(find=_by_service(method=registry.Method.BOOTSTRAP)),
    "joint_inference": Method(find=lambda material: joint_inference(material.problem, SHARED_PARTS)),
    "joint_inference_per_row": Method(
        find=lambda material: joint_inference(material.problem, len(material.problem.rows)), extra=True
    ),
    "iterpsd": Method(find=lambda material: iterpsd(material.problem)),
    "paper": Method(find=_by_service(strategy=StrategyName.PAPER), most_rows=RESCORING_ROWS, extra=True),
    "authors": Method(find=_by_service(strategy=StrategyName.AUTHORS), most_rows=RESCORING_ROWS, extra=True),
    "default": Method(find=_by_service()),
    "default_known": Method(find=_by_service_with_known, gold="16 rows", extra=True),
    "gold_few_shot": Method(find=_gold_few_shot, gold="16 rows"),
    "gold_few_shot_calibrated": Method(find=_gold_few_shot, read=calibrated, gold="16 rows"),
    "gold_many_shot": Method(find=_gold_many_shot, gold="all rows"),
    "gold_many_shot_calibrated": Method(find=_gold_many_shot, read=calibrated, gold="all rows"),
    "gold_redrawn": Method(
        find=lambda material: redrawn_from_gold(material.problem, material.gold), gold="all rows", extra=True
    ),
}
