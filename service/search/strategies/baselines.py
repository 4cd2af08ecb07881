"""The baselines `zero_shot`, `few_shot_random` and `bootstrap`: simple labelling methods to compare the search with.

In all of them known rows keep their labels. Where a baseline shows a few rows with random labels, the known
rows are among these with their known labels.
"""

from collections.abc import Generator
from dataclasses import dataclass, replace
from random import Random

from service.search.measures.audit import RANDOM_DEMONSTRATIONS, audit_step, random_few_shot
from service.search.moves.proposal import free_rows
from service.search.predictions.prompt_tree import PromptTree
from service.search.predictions.scores import Scores
from service.search.prompting import evaluation, planner
from service.search.prompting.demonstrations import keep_fitting
from service.search.state.objective import utility
from service.search.state.problem import Problem
from service.search.state.steps import Answer, Phase, Request, State, Step, StopReason, as_candidate, ask
from service.search.strategies import queries_left
from service.search.strategies.approach import Baseline
from service.search.strategies.extension import extended, likeliest_labels


@dataclass(frozen=True)
class ZeroShot:
    """Gives each row its likeliest label without demonstrations; ignores the rules."""

    def step(self, problem: Problem, state: State) -> Step:
        """Ask for all rows at once."""
        [scores] = yield from ask(planner.behind(problem, (), {}, problem.rows))
        return _finished(problem, state, scores)


@dataclass(frozen=True)
class FewShotRandom:
    """Gives each row its likeliest label behind a few demonstrations with random labels; ignores the rules."""

    def step(self, problem: Problem, state: State) -> Step:
        """Ask for all rows at once."""
        scores = yield from _behind_random_labels(problem)
        return _finished(problem, state, scores)


@dataclass(frozen=True)
class Bootstrap:
    """Relabels all rows in rounds: first behind random labels, then behind twice as many labels of the last round.

    If `consistent`, each round takes the likeliest labelling of related rows that breaks no rule;
    otherwise it ignores the rules.
    """

    consistent: bool = True

    def step(self, problem: Problem, state: State) -> Step:
        """Run one round, the audit, or all of a later shard."""
        if state.phase is Phase.AUDIT:
            return (yield from audit_step(problem, state))
        if problem.prefix:
            return (yield from extended(problem, state, consistent=self.consistent))
        scores = yield from self._scores(problem, state)
        labels = likeliest_labels(problem, scores, consistent=self.consistent)
        changed = sum(state.labels.get(row) != label for row, label in labels.items())
        state = replace(
            state,
            round=state.round + 1,
            labels=labels,
            scores=scores,
            iterations=state.iterations + len(labels),
            accepted=state.accepted + changed,
        )
        if state.round < problem.parameters.rounds and changed:
            return state
        found = as_candidate(problem, labels, scores)
        reason = StopReason.ROUNDS_DONE if changed else StopReason.CONVERGED
        return state.enter(Phase.AUDIT, best=found, stop=reason).with_facts(utility=found.utility)

    def _scores(self, problem: Problem, state: State) -> Generator[Request, Answer, Scores]:
        if not state.labels:
            return (yield from _behind_random_labels(problem))
        shown = problem.parameters.seed_labels * 2**state.round
        at_most = min(shown, problem.max_demonstrations or shown)
        limited = replace(problem, max_demonstrations=at_most)
        return (yield from evaluation.by_folds(limited, problem.in_order(state.labels), problem.parameters.folds))


def _behind_random_labels(problem: Problem) -> Generator[Request, Answer, Scores]:
    rng = problem.random("few-shot")
    tree = _known_few_shot(problem, rng) if problem.known else random_few_shot(problem, problem.rows, rng)
    [scores] = yield from ask(tree)
    return scores


def _known_few_shot(problem: Problem, rng: Random) -> PromptTree:
    """Queries for all rows behind the known ones, filled up to RANDOM_DEMONSTRATIONS with randomly labelled rows."""
    free = free_rows(problem)
    count = min(max(0, RANDOM_DEMONSTRATIONS - len(problem.known)), len(free))
    drawn = {**problem.known, **{row: rng.choice(problem.label_range) for row in rng.sample(free, count)}}
    shown = keep_fitting(problem, drawn, rng)
    rest = [row for row in problem.rows if row not in shown]
    return planner.held_out(problem, [(row,) for row in shown], drawn, also=rest)


def _finished(problem: Problem, state: State, scores: Scores) -> State:
    labels = likeliest_labels(problem, scores, consistent=False)
    state = state.enter(Phase.DONE, labels=labels, scores=scores, stop=StopReason.ASKED_ONCE)
    return state.with_facts(utility=utility(problem, labels, scores))


ZERO_SHOT = Baseline(build=lambda _: ZeroShot(), forecast=queries_left.ASKED_ONCE)
FEW_SHOT_RANDOM = Baseline(build=lambda _: FewShotRandom(), forecast=queries_left.ASKED_ONCE)
BOOTSTRAP = Baseline(
    build=lambda parameters: Bootstrap(consistent=parameters.consistency),
    forecast=queries_left.BOOTSTRAP,
    reads_anchor=True,
)
