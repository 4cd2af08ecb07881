"""Scores a finished labelling against its permutations, shuffled labels and baselines, as evidence for the report."""

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
from service.search.state.steps import Answer, Candidate, Phase, Request, State, Step, as_candidate, ask

SAMPLE_ROWS = 64  # rows that the audit scores again with permuted and with shuffled labels
EXACT_ROWS = 16  # in a sample up to this size every row is a fold, which costs little and separates mirror images
BASELINE_ROWS = 128  # rows that the baselines label, too
RANDOM_DEMONSTRATIONS = 8  # demonstrations of the baseline `few_shot_random`


@dataclass(frozen=True, slots=True)
class Audit:
    """Evidence about a labelling: its score on a sample beside those of its permutations and of shuffled labels.

    All are scored in the same way: by two folds, or exactly if the sample is small. `joint` has the mean
    log-probability of short sequences, nats: first of the labelling, then of each permutation.
    `baselines` has the labels that each baseline gives to some of the rows.
    """

    own: Candidate
    permutations: Sequence[Labels]
    permuted: Sequence[Candidate]
    joint: Sequence[float]
    shuffled: Candidate
    baselines: Mapping[str, Sequence[tuple[Row, Label]]]

    @property
    def rival(self) -> int | None:
        """The number of the permutation with the highest utility; None if there is no permutation."""
        return max(range(len(self.permuted)), key=lambda number: self.permuted[number].utility, default=None)

    @property
    def prior_nats(self) -> float:
        """The language model's prior log-odds of the rival against the labelling, nats."""
        return 0.0 if self.rival is None else self.joint[1 + self.rival] - self.joint[0]

    def better_reading(self, problem: Problem) -> Labels | None:
        """The permutation that should replace the labelling; None if the labelling should stay."""
        if self.rival is None:
            return None
        rival, nats = self.permuted[self.rival], self.prior_nats
        is_better = polarity.is_better(problem, rival, self.own, prior_nats=nats)
        return self.permutations[self.rival] if is_better else None

    def facts(self) -> SearchFacts:
        """The evidence as facts for the report."""
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
            facts["polarity_nats"] = -self.prior_nats
        return facts


def audit(problem: Problem, labels: Labels, scores: Scores, rng: Random) -> Generator[Request, Answer, Audit]:
    """Score a sample under the labelling, its permutations and shuffled labels, and run the baselines."""
    permutations = polarity.permutations(problem, labels, scores)
    sample = whole_groups(problem, labels, SAMPLE_ROWS)
    labellings = [labels, *permutations, shuffled(labels, sample, rng)]
    shown = keep_fitting(problem, {row: labels[row] for row in sample}, rng)
    own, *permuted, randomised = yield from _score(problem, sample, shown, labellings)
    joint = yield from polarity.joint_log_probabilities(problem, [labels, *permutations], rng)
    baselines = yield from _baselines(problem, whole_groups(problem, labels, BASELINE_ROWS), rng)
    return Audit(own, permutations, permuted, joint, randomised, baselines)


def audit_step(problem: Problem, state: State) -> Step:
    """A last step, which only adds an audit's facts to the state."""
    found = yield from audit(problem, state.labels, state.scores, problem.random("audit"))
    return state.enter(Phase.DONE).with_facts(**found.facts())


def whole_groups(problem: Problem, labels: Labels, count: int) -> list[Row]:
    """The first labelled rows in the order of prompts: whole groups, until there are at least `count` rows.

    A group with more than `count` rows gives only its first `count`. So the result has fewer than 2 * `count` rows.
    """
    rows: list[Row] = []
    for group in dict.fromkeys(problem.constraints.group_of[row] for row in problem.order if row in labels):
        if len(rows) >= count:
            break
        rows.extend([row for row in group if row in labels][:count])
    return rows


def _score(
    problem: Problem, sample: Sequence[Row], shown: Sequence[Row], labellings: Sequence[Labels]
) -> Generator[Request, Answer, list[Candidate]]:
    """The sample's scores under each labelling: demonstrations by two folds, the other rows behind all of them."""
    size = 1 if len(shown) <= EXACT_ROWS else (len(shown) + 1) // 2
    parts = [shown[start : start + size] for start in range(0, len(shown), size)]
    rest = [row for row in sample if row not in shown]
    scored = yield from ask(*(planner.held_out(problem, parts, labels, also=rest) for labels in labellings))
    return [
        as_candidate(problem, {row: labels[row] for row in sample}, scores)
        for labels, scores in zip(labellings, scored, strict=True)
    ]


def shuffled(labels: Labels, sample: Sequence[Row], rng: Random) -> dict[Row, Label]:
    """The sample's labels in random order: the same shares, but no concept."""
    values = [labels[row] for row in sample]
    rng.shuffle(values)
    return dict(zip(sample, values, strict=True))


def _baselines(
    problem: Problem, rows: Sequence[Row], rng: Random
) -> Generator[Request, Answer, dict[str, list[tuple[Row, Label]]]]:
    """The labels of these rows by each baseline: without demonstrations, and behind a few with random labels."""
    blind, few = yield from ask(planner.behind(problem, (), {}, rows), random_few_shot(problem, rows, rng))
    return {"zero_shot": _likeliest(blind, rows), "few_shot_random": _likeliest(few, rows)}


def random_few_shot(problem: Problem, rows: Sequence[Row], rng: Random) -> PromptTree:
    """Queries for all rows behind a few of them with random labels; a demonstration is no context for its own row."""
    seeds = rng.sample(list(rows), min(RANDOM_DEMONSTRATIONS, len(rows)))
    drawn = {row: rng.choice(problem.label_range) for row in seeds}
    shown = keep_fitting(problem, drawn, rng)
    rest = [row for row in rows if row not in shown]
    return planner.held_out(problem, [(row,) for row in shown], drawn, also=rest)


def _likeliest(scores: Scores, rows: Collection[Row]) -> list[tuple[Row, Label]]:
    return [(row, likeliest(scores[row])) for row in rows]
