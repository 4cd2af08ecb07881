"""Facts about a finished labelling that the report judges it by: is there a concept, which way round is it, and
what would have been found without a search."""

from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from service.identifiers import Label, Row
from service.search.measures import polarity
from service.search.predictions.prompt_tree import PromptTree
from service.search.predictions.scores import Scores, likeliest
from service.search.prompting import planner
from service.search.prompting.demonstrations import keep_fitting
from service.search.rules.consistency import Labels
from service.search.state.facts import SearchFacts
from service.search.state.objective import mean_log_probability
from service.search.state.problem import Problem
from service.search.state.steps import Answer, Candidate, Request, State, Step, as_candidate, ask

SAMPLE_ROWS = 64  # scored again with permuted and with shuffled labels
EXACT_ROWS = 16  # of a sample no larger every row is a fold, which costs little and tells mirror images apart
BASELINE_ROWS = 128  # labelled by the baselines, too
RANDOM_DEMONSTRATIONS = 8  # of the baseline `few_shot_random`


@dataclass(frozen=True, slots=True)
class Audit:
    """What is to be said of a labelling besides its scores.

    The sample's rows are scored alike each time, by two folds, or exactly where they are few. `joint` is the mean
    log-probability of short sequences, nats, of the labelling and of each permutation.
    `baselines` gives the labels that the methods without a search have for some of the rows.
    """

    own: Candidate
    permutations: Sequence[Labels]
    permuted: Sequence[Candidate]
    joint: Sequence[float]
    shuffled: Candidate
    baselines: Mapping[str, Sequence[tuple[Row, Label]]]

    @property
    def rival(self) -> int | None:
        """Which permutation comes closest in utility."""
        return max(range(len(self.permuted)), key=lambda number: self.permuted[number].utility, default=None)

    @property
    def beforehand_nats(self) -> float:
        """By how much the language model holds the rival for likelier to begin with."""
        return 0.0 if self.rival is None else self.joint[1 + self.rival] - self.joint[0]

    def better_reading(self, problem: Problem) -> Labels | None:
        """The permutation that should take the labelling's place, if any."""
        if self.rival is None:
            return None
        rival, nats = self.permuted[self.rival], self.beforehand_nats
        turned = polarity.is_better(problem, rival, self.own, beforehand_nats=nats)
        return self.permutations[self.rival] if turned else None

    def facts(self) -> SearchFacts:
        """For the report."""
        facts: SearchFacts = {
            "sample_rows": len(self.own.labels),
            "sample_utility": self.own.utility,
            "shuffled_utility": self.shuffled.utility,
            "predictability": mean_log_probability(self.own.labels, self.own.scores),
            "shuffled_predictability": mean_log_probability(self.shuffled.labels, self.shuffled.scores),
            "baselines": {name: [list(pair) for pair in found] for name, found in self.baselines.items()},
        }
        if self.rival is not None:
            facts["permuted_utility"] = self.permuted[self.rival].utility
            facts["polarity_nats"] = -self.beforehand_nats
        return facts


def audit(problem: Problem, labels: Labels, scores: Scores, rng: Random) -> Generator[Request, Answer, Audit]:
    """Score a sample as it is, under permutations and shuffled, and ask the baselines: two requests."""
    permutations = polarity.permutations(problem, labels, scores)
    sample = whole_groups(problem, labels, SAMPLE_ROWS)
    labellings = [labels, *permutations, shuffled(labels, sample, rng)]
    shown = keep_fitting(problem, {row: labels[row] for row in sample}, rng)
    own, *permuted, dealt = yield from _scored(problem, sample, shown, labellings)
    joint = yield from polarity.joint_log_probabilities(problem, [labels, *permutations], rng)
    baselines = yield from _baselines(problem, whole_groups(problem, labels, BASELINE_ROWS), rng)
    return Audit(own, permutations, permuted, joint, dealt, baselines)


def audited(problem: Problem, state: State) -> Step:
    """The state with an audit's facts, and nothing else changed."""
    found = yield from audit(problem, state.labels, state.scores, problem.random("audit"))
    return state.noting(**found.facts())


def whole_groups(problem: Problem, labels: Labels, count: int) -> list[Row]:
    """The first labelled rows in the order of prompts, at least so many where there are, groups kept whole.

    Of a group that alone has more, the first so many: there are less than twice as many rows.
    """
    rows: list[Row] = []
    for group in dict.fromkeys(problem.constraints.group_of[row] for row in problem.order if row in labels):
        if len(rows) >= count:
            break
        rows.extend([row for row in group if row in labels][:count])
    return rows


def _scored(
    problem: Problem, sample: Sequence[Row], shown: Sequence[Row], labellings: Sequence[Labels]
) -> Generator[Request, Answer, list[Candidate]]:
    """The sample under each labelling, by two folds of the rows that are shown; the others behind all of these."""
    size = 1 if len(shown) <= EXACT_ROWS else (len(shown) + 1) // 2
    parts = [shown[start : start + size] for start in range(0, len(shown), size)]
    rest = [row for row in sample if row not in shown]
    scored = yield from ask(*(planner.held_out(problem, parts, labels, also=rest) for labels in labellings))
    return [
        as_candidate(problem, {row: labels[row] for row in sample}, scores)
        for labels, scores in zip(labellings, scored, strict=True)
    ]


def shuffled(labels: Labels, sample: Sequence[Row], rng: Random) -> dict[Row, Label]:
    """The sample's labels dealt out at random among its rows: the same shares, no concept."""
    values = [labels[row] for row in sample]
    rng.shuffle(values)
    return dict(zip(sample, values, strict=True))


def _baselines(
    problem: Problem, rows: Sequence[Row], rng: Random
) -> Generator[Request, Answer, dict[str, list[tuple[Row, Label]]]]:
    """What the rows are labelled without demonstrations, and behind a few with random labels."""
    blind, few = yield from ask(planner.behind(problem, (), {}, rows), random_few_shot(problem, rows, rng))
    return {"zero_shot": _likeliest(blind, rows), "few_shot_random": _likeliest(few, rows)}


def random_few_shot(problem: Problem, rows: Sequence[Row], rng: Random) -> PromptTree:
    """All rows behind a few of them with random labels; a demonstration's own row behind the others."""
    seeds = rng.sample(list(rows), min(RANDOM_DEMONSTRATIONS, len(rows)))
    drawn = {row: rng.choice(problem.label_range) for row in seeds}
    shown = keep_fitting(problem, drawn, rng)
    rest = [row for row in rows if row not in shown]
    return planner.held_out(problem, [(row,) for row in shown], drawn, also=rest)


def _likeliest(scores: Scores, rows: Collection[Row]) -> list[tuple[Row, Label]]:
    return [(row, likeliest(scores[row])) for row in rows]
