"""The common steps of strategies that train: the search of a first part, requests for trainings, the end of the search.

A search in context, as strategy `folds` makes it, labels the first part, since trainings cannot tell labels from their
inversion: from inverted labels they end with inverted ones, with the same confidence (docs/scalable.md).
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from service.identifiers import Row
from service.search.measures.gain import gain, gain_utility
from service.search.measures.polarity_trial import tokens_of_trials, trial_result, trials
from service.search.moves.cardinality import shares_of_part
from service.search.predictions.calibration import label_entropy, label_shares
from service.search.predictions.training import TrainAndScore, TrainingExample
from service.search.prompting.demonstrations import beginning_text
from service.search.rules.consistency import Labels
from service.search.state.problem import Problem
from service.search.state.steps import Candidate, Phase, State, Step, StopReason, train
from service.search.strategies.extension import extended_by_panel
from service.search.strategies.gain_search import GainSearch

KNOWN_SHARE = 0.5  # the largest share of known rows in the first part, so that the search has other rows to label

_FIRST_PART_SEARCH = GainSearch()

Groups = Sequence[tuple[Row, ...]]


def first_part(problem: Problem, count: int) -> list[Row]:
    """Whole groups with about `count` rows; groups with known rows come first and fill up to half of it."""
    groups = list(dict.fromkeys(problem.constraints.group_of[row] for row in problem.order))
    known = [group for group in groups if not problem.known.keys().isdisjoint(group)]
    shown = list(_take_groups(known, int(KNOWN_SHARE * count)))
    waiting = [*(group for group in groups if group not in known), *known[len(shown) :]]
    return [row for group in [*shown, *_take_groups(waiting, count - sum(map(len, shown)))] for row in group]


def _take_groups(groups: Groups, count: int) -> Iterator[tuple[Row, ...]]:
    """The first groups with at least `count` rows together; none for a count of 0."""
    rows = 0
    for group in groups:
        if rows >= count:
            return
        yield group
        rows += len(group)


def subproblem(problem: Problem, rows: Sequence[Row]) -> Problem:
    """The problem restricted to some rows, which must contain whole groups."""
    inside = set(rows)
    known = {row: label for row, label in problem.known.items() if row in inside}
    return replace(
        problem,
        texts={row: text for row, text in problem.texts.items() if row in inside},
        constraint_list=[rule for rule in problem.constraint_list if inside.issuperset(rule.rows)],
        known=known,
        shares=shares_of_part(problem.shares, list(known.values()), len(inside), len(problem.texts)),
    )


def search_first_part(problem: Problem, state: State, rows: Sequence[Row], after: Phase) -> Step:
    """Do a step of the first part's search; after its end, enter phase `after`."""
    state = yield from _FIRST_PART_SEARCH.step(subproblem(problem, rows), state)
    return state.enter(after) if state.phase is Phase.DONE else state


def extend_to_all(problem: Problem, state: State) -> Step:
    """Label the other rows by the panel that the first part's search has fitted."""
    rest = [row for row in problem.rows if row not in state.labels]
    if state.panel is None:
        raise AssertionError("the search of the first part fits a panel")
    if rest:
        prefixes = tuple(beginning_text(problem, member.demonstrations) for member in state.panel.members)
        behind = replace(subproblem(problem, rest), panel=state.panel, panel_prefixes=prefixes)
        found = yield from extended_by_panel(behind, state.panel, State())
        labels, scores, raw = (
            {**state.labels, **found.labels},
            {**state.scores, **found.scores},
            {**state.raw, **found.raw},
        )
        state = replace(state, labels=labels, scores=scores, raw=raw)
    return _drop_search_fields(state).enter(Phase.TRAIN)


def _drop_search_fields(state: State) -> State:
    """The state without the fields that only the first part's search needs."""
    return replace(state, panel=None, starts=(), impression={}, best=None)


def training_of(
    problem: Problem, labels: Labels, learned: Sequence[Row], scored: Sequence[Row], name: object
) -> TrainAndScore:
    """A request to train on the labels of `learned` rows and to score `scored` ones; `name` decides the seed."""
    return TrainAndScore(
        examples=tuple(TrainingExample(row, problem.texts[row], labels[row]) for row in learned),
        queries=tuple(map(problem.query, scored)),
        epochs=problem.parameters.epochs,
        learning_rate=problem.parameters.learning_rate,
        seed=problem.random("training", name).randrange(2**31),
    )


def count_trainings(problem: Problem, state: State, requests: Sequence[TrainAndScore]) -> State:
    """The state with these trainings added to its counts, whether they run or are recalled."""
    tokens = sum(_tokens_learned(problem, request) for request in requests)
    return state.with_facts(
        trainings=state.facts.get("trainings", 0) + len(requests),
        tokens_trained=state.facts.get("tokens_trained", 0) + tokens,
    )


def tokens_read(problem: Problem, request: TrainAndScore) -> int:
    """How many tokens a training reads: its examples once for each epoch, and the rows that it scores."""
    return _tokens_learned(problem, request) + problem.tokens(query.row for query in request.queries)


def _tokens_learned(problem: Problem, request: TrainAndScore) -> int:
    return request.epochs * problem.tokens(example.row for example in request.examples)


def tokens_of_trial(problem: Problem, state: State) -> int:
    """About how many tokens the polarity trial still reads, which ends every search that trains."""
    return 0 if state.phase is Phase.DONE else tokens_of_trials(problem)


def finish_rounds(problem: Problem, state: State, reason: StopReason) -> State:
    """The state after the last round, with the utility of the labels by the scores of the last trainings.

    The training that scored a row had not seen it, so labels without a concept gain nothing. If a search labelled the
    first part, the report shows the gain of that search.
    """
    gained = gain(state.labels, state.scores, problem.classes)
    found = Candidate(state.labels, state.scores, gain_utility(problem, state.labels, gained))
    shares = label_shares(state.labels, state.labels, problem.classes)
    if "gain_nats" not in state.facts:
        most = label_entropy(state.labels, state.labels, shares)
        state = state.with_facts(gain_nats=gained, entropy_nats=most, sample_rows=len(state.labels))
    state = replace(_drop_search_fields(state), best=found, stop=reason)
    return state.with_facts(utility=found.utility).enter(Phase.TRIAL)


def try_polarity(problem: Problem, state: State) -> Step:
    """End the search with the trial of polarity, which measures whether inverted labels are learned faster.

    It changes no label.
    """
    trainings = trials(problem, state.labels, state.raw_scores)
    if not trainings:
        return state.enter(Phase.DONE)
    answers = yield from train(*(training for training, _ in trainings))
    trial = trial_result(answers, [labels for _, labels in trainings])
    state = count_trainings(problem, state, [training for training, _ in trainings])
    return state.with_facts(polarity_trial=trial).enter(Phase.DONE)
