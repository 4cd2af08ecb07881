"""Unsupervised in-context learning by joint inference (Gadetsky et al., ICLR 2025, arXiv 2504.02349).

From zero-shot labels on, rounds in which every row is asked behind a few demonstrations drawn
balanced over the current labels; each row takes the label that most of its draws make likeliest. As in
the authors' code the draws are made with replacement, no score is calibrated, relations play no part,
and all rounds are made. Unlike there, a row never stands among its own demonstrations.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random
from statistics import fmean

from benchmarks.real.outcome import Finding, Outcome
from service.identifiers import Label, Row
from service.search.predictions.scores import Scores, likeliest, likeliest_each, normalized
from service.search.prompting import planner
from service.search.rules.consistency import Labels
from service.search.state.problem import Problem
from service.search.state.steps import ask

ROUNDS = 8  # T
DEMONSTRATIONS = 16  # n
DRAWS = 5  # per row, of which the majority decides


def joint_inference(problem: Problem, parts: int) -> Finding:
    """Each draw is shared by a part of the rows, which costs less; with as many parts as rows it is the authors'."""
    [scores] = yield from ask(planner.behind(problem, (), {}, problem.rows))
    labels = likeliest_each(scores)
    changes = []
    for number in range(ROUNDS):
        rng = problem.random("joint inference", number)
        rows = rng.sample(problem.rows, len(problem.rows))
        dealt = [part for start in range(parts) if (part := rows[start::parts])]
        trees = [
            planner.behind(problem, balanced_draw(problem, labels, set(part), rng), labels, part)
            for part in dealt
            for _ in range(DRAWS)
        ]
        answers = yield from ask(*trees)
        opinions = {row: [answer[row] for answer in answers if row in answer] for row in problem.rows}
        voted = {row: _majority([likeliest(values) for values in said]) for row, said in opinions.items()}
        changes.append(sum(voted[row] != label for row, label in labels.items()))
        labels, scores = voted, _means(opinions)
    return Outcome(labels=labels, scores=scores, facts={"changes": changes})


def balanced_draw(problem: Problem, labels: Labels, without: set[Row], rng: Random) -> list[Row]:
    """Demonstrations, the same number of each label; those of a label that no row has are drawn from all rows."""
    pool = [row for row in problem.rows if row not in without]
    if not pool:
        return []
    count = _fitting(problem, DEMONSTRATIONS)
    wanted = _even(count, problem.classes, rng)
    of_label = {label: [row for row in pool if labels[row] == label] for label in problem.label_range}
    drawn = [row for label, share in wanted.items() if of_label[label] for row in rng.choices(of_label[label], k=share)]
    drawn += rng.choices(pool, k=count - len(drawn))
    return rng.sample(drawn, len(drawn))


def _fitting(problem: Problem, count: int) -> int:
    """No more demonstrations than fit, even the longest."""
    if problem.budget_tokens is None:
        return count
    longest = max(problem.demonstration_tokens.values(), default=0)
    return min(count, problem.budget_tokens // max(1, longest))


def _even(count: int, classes: int, rng: Random) -> Mapping[Label, int]:
    shares = [count // classes + (number < count % classes) for number in range(classes)]
    return dict(zip(map(Label, range(classes)), rng.sample(shares, classes), strict=True))


def _majority(votes: Sequence[Label]) -> Label:
    """The commonest label; of equals the first."""
    counts = Counter(votes)
    return min(counts, key=lambda label: (-counts[label], label))


def _means(opinions: Mapping[Row, Sequence[tuple[float, ...]]]) -> Scores:
    return {row: normalized(tuple(map(fmean, zip(*said, strict=True)))) for row, said in opinions.items()}
