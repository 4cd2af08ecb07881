"""Measures a labelling found by information gain against its permutations, shuffled labels and baselines."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass

from service.identifiers import Label, Row
from service.search.measures import polarity
from service.search.measures.audit import BASELINE_ROWS, SAMPLE_ROWS, random_few_shot, shuffled, whole_groups
from service.search.measures.gain import gain, gain_of, gain_utility, mean_gain
from service.search.measures.polarity import SEQUENCE_ROWS
from service.search.predictions.calibration import calibrated, even_shares, label_entropy, label_shares
from service.search.predictions.scores import Scores, likeliest
from service.search.prompting.views import look
from service.search.rules.consistency import Labels
from service.search.state.facts import SearchFacts
from service.search.state.problem import Problem
from service.search.state.steps import Answer, Candidate, Request, ask

VIEW_SIZES = (8, 32)  # demonstrations of the views that measure the sample

Baselines = Mapping[str, Sequence[tuple[Row, Label]]]


@dataclass(frozen=True, slots=True)
class GainAudit:
    """Evidence about a labelling: its gain on a sample, beside its likeliest permutation's and that of shuffled labels.

    `own_nats` and `shuffled_nats` are G of the labelling and of the shuffled labels, nats per row, without the cost
    of conflicts. `impression_nats` is by how much the calibrated first impression prefers the labelling to the
    permutation, for as many rows as `polarity.joint_log_probabilities` reads, nats.
    """

    own: Candidate
    rival: Candidate | None
    shuffled: Candidate
    permuted: Labels | None
    own_nats: float
    shuffled_nats: float
    impression_nats: float
    entropy_nats: float
    alpha: float
    baselines: Baselines

    def better_reading(self) -> Labels | None:
        """The permutation that should replace the labelling; None if the labelling should stay.

        The permutation must gain more, or about as much if the impression clearly prefers it. If the impression
        clearly prefers the labelling, the labelling stays.
        """
        if self.rival is None:
            return None
        lead = (self.rival.utility - self.own.utility) / self.alpha
        close = abs(lead) < polarity.CLOSE_NATS
        prefers_permuted = -self.impression_nats >= polarity.DECISIVE_NATS if close else lead > 0
        return self.permuted if prefers_permuted and self.impression_nats < polarity.DECISIVE_NATS else None

    def facts(self) -> SearchFacts:
        """The evidence as facts for the report; predictabilities are the gains less the entropy of the shares."""
        facts: SearchFacts = {
            "sample_rows": len(self.own.labels),
            "sample_utility": self.own.utility,
            "shuffled_utility": self.shuffled.utility,
            "gain_nats": self.own_nats,
            "entropy_nats": self.entropy_nats,
            "predictability": self.own_nats - self.entropy_nats,
            "shuffled_predictability": self.shuffled_nats - self.entropy_nats,
            "baselines": {name: [list(pair) for pair in found] for name, found in self.baselines.items()},
        }
        if self.rival is not None:
            facts["permuted_utility"] = self.rival.utility
            facts["polarity_nats"] = self.impression_nats
        return facts


def audit_gain(
    problem: Problem, labels: Labels, scores: Scores, impression: Scores
) -> Generator[Request, Answer, GainAudit]:
    """Measure a sample under the labelling, its permutations and shuffled labels, and run the baselines."""
    sample = whole_groups(problem, labels, SAMPLE_ROWS)
    permutations = _likely_permutations(problem, labels, scores)
    labellings = [labels, shuffled(labels, sample, problem.random("shuffled")), *permutations]
    own, randomised, *rivals = yield from _measure(problem, labellings, sample)
    rival = max(range(len(rivals)), key=lambda number: rivals[number].utility) if rivals else None
    baselines = yield from _baselines(problem, whole_groups(problem, labels, BASELINE_ROWS), impression)
    return GainAudit(
        own=own,
        rival=None if rival is None else rivals[rival],
        shuffled=randomised,
        permuted=None if rival is None else permutations[rival],
        own_nats=gain_of(problem, own.labels, own.utility),
        shuffled_nats=gain_of(problem, randomised.labels, randomised.utility),
        impression_nats=0.0 if rival is None else _preference(problem, labels, permutations[rival], impression),
        entropy_nats=label_entropy(labels, sample, label_shares(labels, sample, problem.classes)),
        alpha=problem.parameters.alpha,
        baselines=baselines,
    )


def _likely_permutations(problem: Problem, labels: Labels, scores: Scores) -> list[dict[Row, Label]]:
    """All permutations of up to three labels, the likeliest one of more; none if known labels fix the polarity."""
    if problem.known:
        return []
    permutations = polarity.permutations(problem, labels, scores)
    return permutations if problem.classes <= 3 else permutations[:1]


def _measure(
    problem: Problem, labellings: Sequence[Labels], sample: Sequence[Row]
) -> Generator[Request, Answer, list[Candidate]]:
    """The gain of the sample under each labelling; the views draw from the same randomness, so that gains compare."""
    found = []
    for labels in labellings:
        own = {row: labels[row] for row in sample}
        views = yield from look(problem, own, VIEW_SIZES, problem.random("audit"))
        gain_nats = mean_gain(own, [view.scores for view in views], problem.classes)
        found.append(Candidate(own, {}, gain_utility(problem, own, gain_nats)))
    return found


def _preference(problem: Problem, labels: Labels, permuted: Labels, impression: Scores) -> float:
    """By how much the impression prefers the labelling, nats over SEQUENCE_ROWS rows."""
    return SEQUENCE_ROWS * (gain(labels, impression, problem.classes) - gain(permuted, impression, problem.classes))


def _baselines(problem: Problem, rows: Sequence[Row], impression: Scores) -> Generator[Request, Answer, Baselines]:
    """The labels of these rows by each baseline: zero-shot, zero-shot calibrated, and few-shot with random labels."""
    blind = calibrated(impression, even_shares(problem.classes))
    [few] = yield from ask(random_few_shot(problem, rows, problem.random("few-shot")))
    methods = {"zero_shot": impression, "zero_shot_calibrated": blind, "few_shot_random": few}
    return {name: [(row, likeliest(scores[row])) for row in rows] for name, scores in methods.items()}
