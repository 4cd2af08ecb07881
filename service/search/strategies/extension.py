"""Labels the rows of a later shard behind the anchor's demonstrations, without a search."""

from collections.abc import Generator, Sequence
from dataclasses import replace

from service.identifiers import Label, Row
from service.search.measures.gain import gain_utility, mean_gain
from service.search.moves.redraw import redraw
from service.search.predictions.panel import Panel
from service.search.predictions.prompt_tree import PromptTree
from service.search.predictions.scores import Scores, likeliest, margin, normalized
from service.search.prompting import evaluation, planner
from service.search.rules.consistency import Labels
from service.search.state.problem import Problem
from service.search.state.steps import Answer, Candidate, Phase, Request, State, Step, StopReason, as_candidate, ask

DOUBT_NATS = 1.0  # a group with a row of smaller margin is scored again


def extended(problem: Problem, state: State, *, consistent: bool = True) -> Step:
    """Score every row once and doubtful rows again; take the likeliest labelling of related rows.

    Sweeps over the shard's own labels are not worth their cost: behind a hundred demonstrations of
    one concept, further ones changed almost no label in our trials. But the scores depend on the
    order of the demonstrations, so doubtful rows are also scored behind other orders of them.
    """
    scores = yield from evaluation.predict(problem, {}, problem.rows)
    labels = likeliest_labels(problem, scores, consistent=consistent)
    doubtful = _doubtful(problem, labels, scores)
    if doubtful and problem.other_prefixes:
        scores = {**scores, **(yield from _second_opinions(problem, doubtful, scores))}
        labels = likeliest_labels(problem, scores, consistent=consistent)
    result = as_candidate(problem, labels, scores)
    state = state.enter(Phase.DONE, labels=labels, scores=scores, best=result, stop=StopReason.ASKED_ONCE)
    return state.with_facts(utility=result.utility, rows_asked_again=len(doubtful))


def extended_by_panel(problem: Problem, panel: Panel, state: State) -> Step:
    """Label the rows by the anchor's panel: every row by its first members, doubtful rows by all of them.

    The shard uses the anchor's calibration. Its own label shares may differ, but calibration removes the
    language model's bias, which is the same for both.
    """
    views = yield from _by_members(problem, problem.panel_prefixes[: panel.first], problem.rows)
    leading = panel.leading
    pooled, scores, raw = leading.scores(views), leading.confidences(views), leading.uncalibrated(views)
    labels = likeliest_labels(problem, pooled, consistent=True)
    doubtful = _doubtful(problem, labels, leading.doubts(views)) if panel.first < len(panel.members) else []
    if doubtful:
        others = yield from _by_members(problem, problem.panel_prefixes[panel.first :], doubtful)
        seen = [*({row: view[row] for row in doubtful} for view in views), *others]
        labels = likeliest_labels(problem, {**pooled, **panel.scores(seen)}, consistent=True)
        scores, raw = {**scores, **panel.confidences(seen)}, {**raw, **panel.uncalibrated(seen)}
    utility = gain_utility(problem, labels, mean_gain(labels, views, problem.classes))
    result = Candidate(labels, scores, utility)
    state = state.enter(Phase.DONE, labels=labels, scores=scores, raw=raw, best=result, stop=StopReason.ASKED_ONCE)
    return state.with_facts(utility=utility, rows_asked_again=len(doubtful))


def _by_members(
    problem: Problem, prefixes: Sequence[str], rows: Sequence[Row]
) -> Generator[Request, Answer, list[Scores]]:
    queries = tuple(problem.query(row) for row in rows)
    return (yield from ask(*(PromptTree(prefix, queries) for prefix in prefixes)))


def likeliest_labels(problem: Problem, scores: Scores, *, consistent: bool) -> dict[Row, Label]:
    """The known labels, and the likeliest for all other rows; if `consistent`, the likeliest that break no rule."""
    if consistent:
        return redraw(problem, {}, scores)
    return {row: problem.known.get(row, likeliest(scores[row])) for row in problem.rows}


def _doubtful(problem: Problem, labels: Labels, scores: Scores) -> list[Row]:
    """The rows of all groups in which some row's margin is below DOUBT_NATS."""
    unsure = (row for row, label in labels.items() if margin(scores[row], label) < DOUBT_NATS)
    groups = dict.fromkeys(problem.constraints.group_of[row] for row in unsure)
    return [row for group in groups for row in group]


def _second_opinions(problem: Problem, rows: Sequence[Row], first: Scores) -> Generator[Request, Answer, Scores]:
    """The mean log-probabilities of the rows over every order of the demonstrations, the first one included."""
    arranged = (replace(problem, prefix=prefix) for prefix in problem.other_prefixes)
    others = yield from ask(*(planner.behind(other, (), {}, rows) for other in arranged))
    opinions = [first, *others]
    return {
        row: normalized(tuple(sum(values) / len(opinions) for values in zip(*(o[row] for o in opinions), strict=True)))
        for row in rows
    }
