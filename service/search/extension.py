"""Labels for the rows of a later shard, behind the anchor's demonstrations."""

from service.search import evaluation
from service.search.objective import likeliest
from service.search.problem import Problem
from service.search.redraw import redraw
from service.search.steps import Phase, State, Step, StopReason, as_candidate


def extended(problem: Problem, state: State, *, consistent: bool = True) -> Step:
    """Ask for every row once, and take the likeliest labelling of each group of related rows.

    Each row costs its own tokens and no more. Sweeps over the shard's own labels were tried
    and moved almost none of them: behind a hundred demonstrations of one concept, more of
    them tell the language model little.
    """
    scores = yield from evaluation.predict(problem, {}, problem.rows)
    if consistent:
        labels = redraw(problem, {}, scores, temperature=0.0, share=1.0, rng=problem.random("extend"))
    else:
        labels = {row: likeliest(scores[row]) for row in problem.rows}
    found = as_candidate(problem, labels, scores)
    state = state.enter(Phase.DONE, labels=labels, scores=scores, best=found, stop=StopReason.ASKED_ONCE)
    return state.noting(utility=found.utility)
