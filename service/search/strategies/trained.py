"""What strategies that train have in common: parts of the rows, the search of the first part, what trainings are asked.

The first part is searched in context, as strategy `folds` does it, since trainings cannot tell which way round labels
are: begun with inverted ones they end with these, just as sure of themselves (docs/scalable.md).
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from service.identifiers import Row
from service.search.measures.gain import gain, gain_utility
from service.search.measures.polarity_trial import tokens_of_trials, told, trials
from service.search.moves.cardinality import shares_of_part
from service.search.predictions.calibration import label_entropy, label_shares
from service.search.predictions.training import TrainAndScore, TrainingExample
from service.search.prompting.demonstrations import beginning_text
from service.search.rules.consistency import Labels
from service.search.state.problem import Problem
from service.search.state.steps import Candidate, Phase, State, Step, StopReason, train
from service.search.strategies.extension import extended_by_panel
from service.search.strategies.gain_search import GainSearch

KNOWN_SHARE = 0.5  # of the first part, that known rows may be: the others leave room for a search

_FIRST_PART = GainSearch()

Groups = Sequence[tuple[Row, ...]]


def first_part(problem: Problem, count: int) -> list[Row]:
    """Whole groups of about so many rows, the ones with known rows first, until these are half of it."""
    groups = list(dict.fromkeys(problem.constraints.group_of[row] for row in problem.order))
    known = [group for group in groups if not problem.known.keys().isdisjoint(group)]
    shown = list(_filled(known, int(KNOWN_SHARE * count)))
    waiting = [*(group for group in groups if group not in known), *known[len(shown) :]]
    return [row for group in [*shown, *_filled(waiting, count - sum(map(len, shown)))] for row in group]


def _filled(groups: Groups, count: int) -> Iterator[tuple[Row, ...]]:
    """The first groups, until there are so many rows; at least one if any is wanted."""
    rows = 0
    for group in groups:
        if rows >= count:
            return
        yield group
        rows += len(group)


def part_of(problem: Problem, rows: Sequence[Row]) -> Problem:
    """The problem of some rows, groups being whole."""
    inside = set(rows)
    known = {row: label for row, label in problem.known.items() if row in inside}
    return replace(
        problem,
        texts={row: text for row, text in problem.texts.items() if row in inside},
        constraint_list=[rule for rule in problem.constraint_list if inside.issuperset(rule.rows)],
        known=known,
        shares=shares_of_part(problem.shares, list(known.values()), len(inside), len(problem.texts)),
    )


def searched(problem: Problem, state: State, rows: Sequence[Row], after: Phase) -> Step:
    """A step of the search of the first part; once it has ended, the phase that follows."""
    state = yield from _FIRST_PART.step(part_of(problem, rows), state)
    return state.enter(after) if state.phase is Phase.DONE else state


def extended_to_all(problem: Problem, state: State) -> Step:
    """Label the other rows by the panel that the search of the first part has fitted."""
    rest = [row for row in problem.rows if row not in state.labels]
    if state.panel is None:
        raise AssertionError("the search of the first part fits a panel")
    if rest:
        prefixes = tuple(beginning_text(problem, member.demonstrations) for member in state.panel.members)
        behind = replace(part_of(problem, rest), panel=state.panel, panel_prefixes=prefixes)
        found = yield from extended_by_panel(behind, state.panel, State())
        labels, scores, raw = (
            {**state.labels, **found.labels},
            {**state.scores, **found.scores},
            {**state.raw, **found.raw},
        )
        state = replace(state, labels=labels, scores=scores, raw=raw)
    return _without_search(state).enter(Phase.TRAIN)


def _without_search(state: State) -> State:
    """The state without what only the search of the first part needed."""
    return replace(state, panel=None, starts=(), impression={}, best=None)


def training_of(
    problem: Problem, labels: Labels, learned: Sequence[Row], asked: Sequence[Row], name: object
) -> TrainAndScore:
    """Train on the labels of some rows and ask for those of others; `name` decides the seed of the training alone."""
    return TrainAndScore(
        examples=tuple(TrainingExample(row, problem.texts[row], labels[row]) for row in learned),
        queries=tuple(map(problem.query, asked)),
        epochs=problem.parameters.epochs,
        learning_rate=problem.parameters.learning_rate,
        seed=problem.random("training", name).randrange(2**31),
    )


def noting_trainings(problem: Problem, state: State, asked: Sequence[TrainAndScore]) -> State:
    """The state with the trainings among its facts; what is remembered of them makes no difference."""
    tokens = sum(one.epochs * problem.tokens(example.row for example in one.examples) for one in asked)
    return state.noting(
        trainings=state.facts.get("trainings", 0) + len(asked),
        tokens_trained=state.facts.get("tokens_trained", 0) + tokens,
    )


def tokens_read(problem: Problem, asked: TrainAndScore) -> int:
    """How many tokens a training reads: its examples once for each epoch, and the rows that it is asked for."""
    learned = asked.epochs * problem.tokens(example.row for example in asked.examples)
    return learned + problem.tokens(query.row for query in asked.queries)


def tokens_of_trial(problem: Problem, state: State) -> int:
    """How many tokens the trial of polarity still reads, about; it ends every search that trains."""
    return 0 if state.phase is Phase.DONE else tokens_of_trials(problem)


def settled(problem: Problem, state: State, reason: StopReason) -> State:
    """The state once all labels are found, with what they are worth by the scores that they were found by.

    Each row was scored by a training that had not seen it, so that labels without a concept gain nothing. The gain of
    the first part, where that was searched, stays the one that is told.
    """
    gained = gain(state.labels, state.scores, problem.classes)
    found = Candidate(state.labels, state.scores, gain_utility(problem, state.labels, gained))
    shares = label_shares(state.labels, state.labels, problem.classes)
    if "gain_nats" not in state.facts:
        most = label_entropy(state.labels, state.labels, shares)
        state = state.noting(gain_nats=gained, entropy_nats=most, sample_rows=len(state.labels))
    state = replace(_without_search(state), best=found, stop=reason)
    return state.noting(utility=found.utility).enter(Phase.TRIAL)


def tried(problem: Problem, state: State) -> Step:
    """The end of the search: which way round the labels are learned faster. It changes none of them."""
    trainings = trials(problem, state.labels, state.raw_scores)
    if not trainings:
        return state.enter(Phase.DONE)
    answers = yield from train(*(training for training, _ in trainings))
    trial = told(answers, [labels for _, labels in trainings])
    state = noting_trainings(problem, state, [training for training, _ in trainings])
    return state.noting(polarity_trial=trial).enter(Phase.DONE)
