"""Measures a finished labelling against gold; the search's cost does not include this."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from benchmarks.data import Dataset, Item
from benchmarks.local import LocalScorer, TreeScorer, resolve
from service.identifiers import Label, Row
from service.search.predictions.prompt_tree import PromptTree, Query
from service.search.predictions.scores import likeliest
from service.search.prompting import evaluation
from service.search.rules.consistency import Labels
from service.search.state.problem import Problem

COLLAPSED = 0.95  # share of one label from which a labelling counts as collapsed
INVERTED = 0.25  # accuracy below which a labelling counts as inverted


@dataclass(frozen=True, slots=True)
class Exact:
    """A labelling's exact leave-one-out utility, and how often the likeliest label of a row is the gold one."""

    utility: float
    accuracy: float


def accuracy(labels: Labels, gold: Labels) -> float:
    """Share of the labelled rows that have their gold label."""
    return fmean(label == gold[row] for row, label in labels.items())


def exact(problem: Problem, labels: Labels, gold: Labels, scorer: LocalScorer) -> Exact:
    """Score every row given all others. With gold labels, `accuracy` is that of gold many-shot prompting."""
    [candidate] = resolve(evaluation.leave_one_out(problem, labels), scorer)
    return Exact(
        candidate.utility,
        fmean(likeliest(scores) == gold[row] for row, scores in candidate.scores.items()),
    )


def share_true(labels: Labels) -> float:
    """Share of the first label."""
    return fmean(label == 0 for label in labels.values())


def mean_demonstration_tokens(problem: Problem, scorer: TreeScorer) -> float:
    """L: mean tokens of a row with its label and the separator."""
    return fmean(scorer.count(problem.demonstration(row, Label(0))) for row in problem.rows)


def prompted_accuracy(problem: Problem, labels: Labels, fresh: Sequence[Item], scorer: LocalScorer) -> float:
    """Accuracy on fresh rows behind these labelled rows as demonstrations; without labels this is zero-shot."""
    rows = list(problem.in_order(labels))
    queries = tuple(Query(Row(number), item.text) for number, item in enumerate(fresh))
    [scores] = scorer.answer([PromptTree(problem.demonstrations(rows, labels), queries)])
    return fmean(likeliest(scores.log_probabilities[Row(number)]) == item.gold for number, item in enumerate(fresh))


def random_few_shot(dataset: Dataset, problem: Problem, scorer: LocalScorer, shots: int, draws: int) -> float:
    """Accuracy on fresh rows behind a few rows with random labels, the mean over draws."""
    accuracies = []
    for draw in range(draws):
        rng = problem.random("random few-shot", draw)
        labels = {
            row: rng.choice(problem.label_range) for row in rng.sample(problem.rows, min(shots, len(problem.rows)))
        }
        accuracies.append(prompted_accuracy(problem, labels, dataset.fresh, scorer))
    return fmean(accuracies)


def equally_accurate(problem: Problem, labels: Labels, gold: Labels) -> dict[Row, Label]:
    """Gold labels with as many errors as a labelling has, but on random rows (Fig. 8)."""
    errors = sum(labels[row] != gold[row] for row in labels)
    wrong = set(problem.random("noise").sample(sorted(gold), errors))
    return {row: Label(1 - label) if row in wrong else label for row, label in gold.items()}


def verdict(labels: Labels, gold: Labels) -> str:
    """One word for the labelling as a whole: collapsed, inverted or ok."""
    share = share_true(labels)
    if max(share, 1 - share) >= COLLAPSED:
        return "collapsed"
    return "inverted" if accuracy(labels, gold) < INVERTED else "ok"
