"""Measures whether a language model learns the labels found, or a permutation of them, faster.

Each trial trains one epoch on few rows and scores others. A language model learns labels that agree with its knowledge
in a few steps; inverted labels contradict its knowledge and take longer (docs/scalable.md has measurements). After
several epochs on many rows it has learned both equally well, so a long training does not show the polarity.
"""

import math
import statistics
from collections.abc import Sequence

from service.identifiers import Row
from service.search.measures import polarity
from service.search.measures.audit import whole_groups
from service.search.predictions.prompt_tree import TreeScores
from service.search.predictions.scores import Scores
from service.search.predictions.training import TrainAndScore, TrainingExample
from service.search.rules.consistency import Labels
from service.search.state.facts import PolarityTrial
from service.search.state.problem import Problem

LEARNED_ROWS, SCORED_ROWS = 64, 256  # a few steps of training, and enough rows for a standard error
MAX_LEARNED_SHARE = 0.5  # of the rows, if there are few
MIN_SCORED = 8  # rows for a usable standard error


def trials(problem: Problem, labels: Labels, scores: Scores) -> list[tuple[TrainAndScore, Labels]]:
    """One-epoch trainings on the labels of some groups and on each permutation of them; all score the same others.

    Each training comes with its labelling, that of the labels found first. Empty if there are too few rows to score.
    """
    learned = whole_groups(problem, labels, min(LEARNED_ROWS, int(MAX_LEARNED_SHARE * len(labels))))
    taken = {problem.constraints.group_of[row] for row in learned}
    free = (row for row in problem.order if row in labels and row not in problem.known)
    scored = [row for row in free if problem.constraints.group_of[row] not in taken]
    if not learned or len(scored) < MIN_SCORED:
        return []
    others = polarity.permutations(problem, labels, scores)
    return [
        (_training(problem, learned, scored[:SCORED_ROWS], labelling), labelling) for labelling in (labels, *others)
    ]


def tokens_of_trials(problem: Problem) -> int:
    """About how many tokens these trainings read, by the mean length of a row."""
    count = len(problem.texts)
    learned = min(LEARNED_ROWS, int(MAX_LEARNED_SHARE * count))
    rows = learned + min(SCORED_ROWS, count - learned)
    labellings = 1 + polarity.permutation_count(problem.classes)
    return round(labellings * rows * problem.tokens(problem.rows) / count)


def trial_result(answers: Sequence[TreeScores], labellings: Sequence[Labels]) -> PolarityTrial:
    """The loss on the scored rows: of the labels found, and of the permutation with the lowest loss."""
    found, *others = (
        [-values[labels[row]] for row, values in answer.log_probabilities.items()]
        for answer, labels in zip(answers, labellings, strict=True)
    )
    fastest = min(others, key=math.fsum)
    gaps = [one - other for one, other in zip(found, fastest, strict=True)]
    return {
        "rows": len(found),
        "found_nats": statistics.fmean(found),
        "permuted_nats": statistics.fmean(fastest),
        "error_nats": statistics.stdev(gaps) / math.sqrt(len(gaps)),
    }


def _training(problem: Problem, learned: Sequence[Row], scored: Sequence[Row], labels: Labels) -> TrainAndScore:
    return TrainAndScore(
        examples=tuple(TrainingExample(row, problem.texts[row], labels[row]) for row in learned),
        queries=tuple(problem.query(row) for row in scored),
        epochs=1,
        learning_rate=problem.parameters.learning_rate,
        seed=problem.random("polarity trial").randrange(2**31),
    )
