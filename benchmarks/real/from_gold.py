"""How right the search stays where it starts at the gold labels: the ceiling of its redraw on a language model.

Behind gold labels the search makes the same sweeps as behind labels of its own. What it comes to tells errors of the
search, which better moves would avoid, from borders that the language model draws elsewhere than the gold labels do.
"""

from collections.abc import Mapping

from benchmarks.real.ablations import pooled
from benchmarks.real.outcome import Finding, Outcome
from service.identifiers import Label, Row
from service.search.measures.gain import mean_gain
from service.search.moves.relabelling import relabelled
from service.search.prompting import planner
from service.search.prompting.views import SWEEP_SIZES, look
from service.search.state.problem import Problem
from service.search.state.steps import ask
from service.search.strategies.gain_search import SWEEPS

_DRAWS = "gold views:0"  # names the randomness of the demonstrations


def redrawn_from_gold(problem: Problem, gold: Mapping[Row, Label]) -> Finding:
    """The labels after as many sweeps as a start has.

    `ablated` has the labels after fewer sweeps. The fact `gains_nats` is G of the gold labels, then of the labels
    after each sweep but the last, nats a row.
    """
    [impression] = yield from ask(planner.behind(problem, (), {}, problem.rows))
    labels, scores = problem.in_order(gold), impression
    redrawn, gains = [], []
    for number in range(SWEEPS):
        looked = yield from look(problem, labels, SWEEP_SIZES, problem.random(_DRAWS, number))
        views = [view.scores for view in looked]
        gains.append(round(mean_gain(labels, views, problem.classes), 4))
        scores = pooled(problem, labels, views, impression)
        labels = problem.in_order(relabelled(problem, labels, scores).labels)
        redrawn.append(labels)
    fewer = {f"after {number} of {SWEEPS} sweeps": found for number, found in enumerate(redrawn[:-1], start=1)}
    return Outcome(labels=labels, scores=scores, facts={"gains_nats": gains}, ablated=fewer)
