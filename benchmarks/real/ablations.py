"""Measures the worth of each piece of the search: reads its last look without the piece, at no further prompt."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from service.search.measures.gain import impression_weight, view_weight
from service.search.moves.relabelling import cautious, expected_shares, relabelled
from service.search.predictions import panel
from service.search.predictions.calibration import Shares, even_shares, label_shares
from service.search.predictions.panel import Panel
from service.search.predictions.scores import Scores
from service.search.prompting.views import FINAL_SIZES, View, look
from service.search.rules.consistency import Labels
from service.search.state.problem import Problem
from service.search.state.steps import Answer, State

FEW, MANY = min(FINAL_SIZES), max(FINAL_SIZES)
WHOLE = "as it is"
STARTS = ("first impression", "sweeps from the impression", "sweeps from random labels")
RAW, EVEN, LAST = "not calibrated", "calibrated to even shares", "calibrated to the last shares"
BEYOND_CHANCE = "shares moved beyond chance only"
EQUAL = "equal weights"
BLIND = "without the impression"
ONE = {size: f"one view of {size}" for size in (FEW, MANY)}
PIECES = (*STARTS, RAW, EVEN, LAST, BEYOND_CHANCE, EQUAL, BLIND, *ONE.values())


def starts(state: State) -> dict[str, Labels]:
    """The labels of the first impression, and those that each start of the search came to."""
    return {name: start.labels for name, start in zip(STARTS, state.starts, strict=False)}


def readings(problem: Problem, before: State, answer: Answer) -> dict[str, Labels]:
    """The labels that the last look would have given without one piece; `before` is the state before the look.

    This is the look of a search without known rows.
    """
    views = _views(problem, before, answer)
    return {
        name: relabelled(problem, before.labels, scores).labels for name, scores in _readings(problem, before, views)
    }


def _views(problem: Problem, before: State, answer: Answer) -> list[View]:
    """The views as the search had them: the same draws, the recorded answers."""
    looking = look(problem, before.labels, FINAL_SIZES, problem.random("final views"))
    next(looking)
    try:
        looking.send(answer)
    except StopIteration as end:
        found: list[View] = end.value
        return found
    raise AssertionError("a look asks once")


def _readings(problem: Problem, before: State, views: Sequence[View]) -> Iterator[tuple[str, Scores]]:
    told, impression, labels = [view.scores for view in views], before.impression, before.labels
    own = label_shares(labels, labels, problem.classes)
    usual = expected_shares(problem, own)
    fitted = _fitted(problem, labels, told, impression, usual)
    looks = [*told, impression]
    whole = fitted.scores(looks)
    yield WHOLE, whole
    yield RAW, fitted.uncalibrated(looks)
    for name, shares in _other_shares(problem, own, len(labels)).items():
        yield name, _fitted(problem, labels, told, impression, shares).scores(looks)
    yield EQUAL, panel.pooled(looks, [1.0] * len(looks), usual)
    yield BLIND, _fitted(problem, labels, told, None, usual).scores(told)
    for size, name in ONE.items():
        one = told[FINAL_SIZES.index(size)]
        yield name, {**whole, **_fitted(problem, labels, [one], None, usual).scores([one])}


def _other_shares(problem: Problem, own: Shares, rows: int) -> dict[str, Shares]:
    """Other shares to calibrate to, by the name of the piece; `own` are those of the last labels."""
    return {
        EVEN: even_shares(problem.classes),
        LAST: _without_zero(own),
        BEYOND_CHANCE: expected_shares(problem, cautious(own, rows)),
    }


def pooled(problem: Problem, labels: Labels, views: Sequence[Scores], impression: Scores) -> Scores:
    """The scores of views of these labels and of the impression, pooled as in a search without known rows."""
    usual = expected_shares(problem, label_shares(labels, labels, problem.classes))
    return _fitted(problem, labels, views, impression, usual).scores([*views, impression])


def _fitted(
    problem: Problem, labels: Labels, views: Sequence[Scores], impression: Scores | None, shares: Shares
) -> Panel:
    weights = [view_weight(labels, scores, problem.classes) for scores in views]
    if impression is None:
        return panel.fit([()] * len(views), views, weights, shares)
    own = impression_weight(labels, impression, problem.classes, weights)
    return panel.fit([()] * (len(views) + 1), [*views, impression], [*weights, own], shares)


def _without_zero(shares: Shares) -> Shares:
    """No scores can be calibrated to a share of 0."""
    raised = [max(share, 1e-3) for share in shares]
    return tuple(share / sum(raised) for share in raised)


def differences(runs: Iterable[Mapping[str, float]]) -> dict[str, list[float]]:
    """By piece: the accuracy without it less that of the whole, for each run whose last look was read both ways."""
    found: dict[str, list[float]] = {}
    for run in runs:
        for name in run.keys() - {WHOLE} if WHOLE in run else ():
            found.setdefault(name, []).append(run[name] - run[WHOLE])
    return {name: found[name] for name in PIECES if name in found}
