"""Iterative pseudo-demonstrations (IterPSD; Gu et al., arXiv 2503.03062), from zero-shot labels on.

Rows are annotated in chunks, those first that the language model is surest of, and a few at
random. Each chunk is asked behind the annotated rows of the highest confidence so far. At the end
every row is asked once more, behind the confident rows outside its own fold. The paper leaves chunk,
threshold and share of random rows to the user; those here are ours.
"""

import math
from collections.abc import Sequence
from random import Random

from benchmarks.real.outcome import Finding, from_scores
from service.identifiers import Label, Row
from service.search.predictions.scores import Scores, likeliest
from service.search.prompting import planner
from service.search.prompting.demonstrations import keep_fitting
from service.search.state.problem import Problem
from service.search.state.steps import ask

CHUNKS = 8
CONFIDENT = 0.5  # share of the annotated rows that serve as demonstrations
RANDOM = 0.2  # share of a chunk that is drawn, whatever its confidence
FOLDS = 4  # of the last pass


def iterpsd(problem: Problem) -> Finding:
    """Annotate chunk by chunk, then once more all."""
    [first] = yield from ask(planner.behind(problem, (), {}, problem.rows))
    rng = problem.random("iterpsd")
    annotated: dict[Row, tuple[float, ...]] = {}
    left = list(problem.rows)
    size = math.ceil(len(left) / CHUNKS)
    while left:
        chunk = _next_chunk(left, first, size, rng)
        labels = _confident(problem, annotated, rng)
        [scores] = yield from ask(planner.behind(problem, list(labels), labels, chunk))
        annotated |= scores
        left = [row for row in left if row not in scores]
    labels = _confident(problem, annotated, rng)
    parts = [part for start in range(FOLDS) if (part := list(labels)[start::FOLDS])]
    rest = [row for row in problem.rows if row not in labels]
    [scores] = yield from ask(planner.held_out(problem, parts, labels, also=rest))
    return from_scores(scores, demonstrations=len(labels))


def _next_chunk(left: Sequence[Row], scores: Scores, size: int, rng: Random) -> list[Row]:
    """The surest rows that are left, and some drawn from the others."""
    by_confidence = sorted(left, key=lambda row: (-max(scores[row]), row))
    sure = by_confidence[: size - round(size * RANDOM)]
    others = by_confidence[len(sure) :]
    return [*sure, *rng.sample(others, min(size - len(sure), len(others)))]


def _confident(problem: Problem, annotated: Scores, rng: Random) -> dict[Row, Label]:
    """The labels of the surest part of the annotated rows, as many as fit, in random order."""
    surest = sorted(annotated, key=lambda row: (-max(annotated[row]), row))[: math.ceil(len(annotated) * CONFIDENT)]
    labels = {row: likeliest(annotated[row]) for row in rng.sample(surest, len(surest))}
    return {row: labels[row] for row in keep_fitting(problem, labels, rng)}
