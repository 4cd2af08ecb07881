"""Judges a job's labels by written rules, each of which may give a reason to doubt them (docs/verdicts.md).

No rule uses gold labels.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from service.jobs.reporting.coherence import Coherence
from service.jobs.reporting.facts import SearchFacts
from service.jobs.reporting.proportions import Proportion, known_accuracy, wilson
from service.jobs.reporting.ranking import RankedLabelling, found_gain, words_for
from service.jobs.reporting.rewards import RewardBasis
from service.jobs.reporting.shortcuts import FeatureKind, Shortcut
from service.jobs.reporting.tally import LabelShare
from service.records.jobs import Job, JobStatus
from service.search.measures.ranking import FIRST_IMPRESSION
from service.search.state.steps import StopReason
from service.values import by_number, counted

IMBALANCE = 0.95  # share of the commonest label from which the rarer ones may be mistakes: suspicious
UNCERTAIN = (0.2, 0.5)  # share of uncertain rows: suspicious from the first, unusable from the second
EXPECTED_ERRORS = 0.15  # share of wrong labels that confidence expects: one label in seven is worth a look
CONFLICTS = 0.05  # unresolved conflicts per row above which the labels are unusable
POLARITY_SEQUENCE_NATS = 1.5  # per short sequence: from odds of four to one the language model decides the polarity
POLARITY_TRIAL_ERRORS = 3.0  # standard errors by which swapped labels must be learned better
POLARITY_NATS = 0.02  # per row: with a smaller lead over the complement, all labels may be inverted
NO_CONCEPT_SHARE = 0.1  # of the cost of shuffled labels: a search explains this much of noise, with any number of rows
WEAK_CONCEPT_SHARE = 0.3  # of that cost: the labels are coherent, but most of the cost stays unexplained
NO_CONCEPT_ERRORS = 1.0  # standard errors above chance; the standard deviation of a row's cost is about its mean
WEAK_CONCEPT_ERRORS = 2.0  # within these the gain may be chance, or a concept that few rows show
MOST_NOISE_SHARE = 0.5  # upper limit of the share that counts as chance, however few the rows
NO_CONCEPT_NATS = 0.01  # per row: the limit if shuffled labels cost nothing, so that there is no share
RESTARTS_AGREE = 0.7  # of the rows; two random labellings with two labels agree on half of them
SHORTCUT = 0.8  # above the majority, where certainty is 1: a balanced accuracy of 0.9 with two labels
GAINS_MORE_SHARE = 0.1  # of the entropy of even labels: the lead in gain that is more than chance
AGREES_KAPPA = 0.4  # from about here agreement beyond chance is called moderate (Landis and Koch 1977)
AGREES_ERRORS = 3.0  # standard errors of kappa (about 1 / sqrt(rows)) that exceed chance
KNOWN_SKILL = (0.1, 0.3)  # of the way from chance to certainty on known rows: useless below the first, weak below both
REWARD_CHANCE = 0.5  # a coin ranks half of the held-out pairs right
WEAK_REWARD = 0.75  # of the held-out pairs: below this the reward model contradicts one label in four
FEW_ROWS = 8  # with fewer rows, neither a single label nor the gain over chance proves anything


class Verdict(StrEnum):
    """How far to trust the labels, from good to bad."""

    OK = "ok"
    SUSPICIOUS = "suspicious"
    DO_NOT_USE = "do_not_use"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One rule that speaks against the labels, and the verdict that it leads to."""

    code: str
    verdict: Verdict
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All evidence on which the rules may decide."""

    job: Job
    shares: Sequence[LabelShare]
    unsure: int  # rows without a label or with a small margin
    search: SearchFacts
    coherence: Coherence
    shortcuts: Sequence[Shortcut] = field(default=())
    ranking: Sequence[RankedLabelling] = field(default=())
    reward: RewardBasis | None = None

    @property
    def labelled(self) -> int:
        """The number of rows that have a label."""
        return sum(share.rows for share in self.shares)


def judge(evidence: Evidence) -> list[Reason]:
    """Every reason to doubt the labels."""
    return [reason for rule in RULES for reason in rule(evidence)]


def worst(reasons: Sequence[Reason]) -> Verdict:
    """The worst verdict among the reasons; OK if there are none."""
    return max((reason.verdict for reason in reasons), key=list(Verdict).index, default=Verdict.OK)


def _suspicious(code: str, message: str) -> list[Reason]:
    return [Reason(code=code, verdict=Verdict.SUSPICIOUS, message=message)]


def _unusable(code: str, message: str) -> list[Reason]:
    return [Reason(code=code, verdict=Verdict.DO_NOT_USE, message=message)]


def _unfinished(evidence: Evidence) -> list[Reason]:
    match evidence.job.status:
        case JobStatus.SUCCEEDED:
            return []
        case JobStatus.FAILED:
            return _unusable("failed", "the job failed before all rows were labelled")
        case status:
            return _suspicious("unfinished", f"the job is {status}: the labels are not final")


def _limit(evidence: Evidence) -> list[Reason]:
    shards = evidence.search.stop_reasons.get(StopReason.LIMIT, 0)
    return _suspicious("limit", "a limit of the job ended the search before it was done") if shards else []


def _collapse(evidence: Evidence) -> list[Reason]:
    """A single label for all rows is coherent, but carries no information."""
    labelled = evidence.labelled
    commonest = max(evidence.shares, key=lambda share: share.rows)
    if labelled == 0:
        return _unusable("no_labels", "no row has a label")
    if labelled < FEW_ROWS:
        return []
    if commonest.rows == labelled:
        return _unusable(
            "class_collapse", f"all {counted(labelled, 'labelled row')} have the label {commonest.label!r}"
        )
    if commonest.share >= IMBALANCE:
        return _suspicious(
            "imbalance", f"{commonest.share:.1%} of the labelled rows have the label {commonest.label!r}"
        )
    return []


def _few(evidence: Evidence) -> list[Reason]:
    """No other rule can judge a handful of rows: one label for all may be right, and any labels are coherent."""
    job = evidence.job
    rows = evidence.labelled if job.status is JobStatus.SUCCEEDED else job.progress.rows
    if rows >= FEW_ROWS or not evidence.labelled:
        return []
    message = f"{counted(rows, 'labelled row')} {by_number(rows, 'is', 'are')} too few to judge the labels by: look at "
    message += by_number(rows, "it", "each of them")
    return _suspicious("too_few_rows", message)


def _uncertain(evidence: Evidence) -> list[Reason]:
    share = evidence.unsure / max(1, evidence.job.progress.rows)
    message = f"{share:.1%} of the rows have no label, or a runner-up that is nearly as likely"
    if share >= UNCERTAIN[1]:
        return _unusable("uncertain", message)
    return _suspicious("uncertain", message) if share >= UNCERTAIN[0] else []


def _expected_errors(evidence: Evidence) -> list[Reason]:
    """A search without trainings calibrates its confidence, so its mean estimates the share of wrong labels."""
    accuracy = evidence.search.expected_accuracy
    if accuracy is None or evidence.search.trainings or 1 - accuracy < EXPECTED_ERRORS:
        return []
    return _suspicious(
        "expected_errors", f"by their confidence {1 - accuracy:.0%} of the labels are expected to be wrong"
    )


def _conflicts(evidence: Evidence) -> list[Reason]:
    progress = evidence.job.progress
    broken = counted(progress.inconsistencies, "relation")
    message = f"{broken} between rows {by_number(progress.inconsistencies, 'is', 'are')} still broken"
    if progress.inconsistencies > CONFLICTS * max(1, progress.rows):
        return _unusable("conflicts", message)
    return _suspicious("conflicts", message) if progress.inconsistencies else []


def _known(evidence: Evidence) -> list[Reason]:
    """Labels that are right on left-out known rows hardly more often than a guess mean something else, or nothing.

    The rule says nothing if nearly all known rows have one label: a guess is then right on nearly all of them.
    """
    known, guess = _enough_known(evidence), _guess(evidence)
    if known is None or wilson(1.0, known.rows)[0] <= guess:
        return []
    skill = (known.share - guess) / (1 - guess)
    message = (
        f"known rows that were left out of the prompts got their known label in {known.hits} of {known.rows} cases "
        f"({known.lower:.0%} to {known.upper:.0%} for all rows); a guess gets {guess:.0%} of them right"
    )
    if skill < KNOWN_SKILL[0]:
        return _unusable("known_rows", message)
    return _suspicious("known_rows", message) if skill < KNOWN_SKILL[1] else []


def _is_proven(evidence: Evidence) -> bool:
    """Whether known rows show that the labels are right more often than a guess is."""
    known = _enough_known(evidence)
    return known is not None and known.lower > _guess(evidence)


def _enough_known(evidence: Evidence) -> Proportion | None:
    """The accuracy on known rows, if there are enough of them to judge by."""
    known = known_accuracy(evidence.search)
    return known if known is not None and known.rows >= FEW_ROWS else None


def _guess(evidence: Evidence) -> float:
    """The share of known rows that a guess gets right: the commonest known label, or any if none is commoner."""
    facts = evidence.search
    by_chance = 1 / max(1, len(evidence.shares))
    return max(by_chance, (facts.known_commonest or 0) / max(1, facts.known_rows or 0))


def _concept(evidence: Evidence) -> list[Reason]:
    """Labels that are no more coherent than the same labels in random order mean nothing.

    If nearly all rows have one label, the sample has too few of the others to decide; `imbalance` covers that. Known
    rows say more: labels may be right and yet tell the language model nothing, if it reads their words otherwise.
    """
    if _is_proven(evidence):
        return []
    gain, share = evidence.coherence.gain_nats, evidence.coherence.gain_share
    rows = evidence.search.sample_rows or 0
    is_lopsided = max((found.share for found in evidence.shares), default=0.0) >= IMBALANCE
    if (
        gain is None
        or rows < FEW_ROWS
        or (is_lopsided and not evidence.search.stop_reasons.get(StopReason.NOT_BORNE_OUT))
    ):
        return []
    error = math.sqrt(2 / rows)
    chance = max(NO_CONCEPT_SHARE, min(MOST_NOISE_SHARE, NO_CONCEPT_ERRORS * error))
    if gain < NO_CONCEPT_NATS if share is None else share < chance:
        return _unusable("no_concept", _little(evidence.search, gain) + _known_all_the_same(evidence))
    if share is not None and share < max(WEAK_CONCEPT_SHARE, min(MOST_NOISE_SHARE, WEAK_CONCEPT_ERRORS * error)):
        whole = "what shuffled labels cost" if evidence.search.gain_nats is None else "the labels' entropy"
        return _suspicious("weak_concept", f"only {share:.0%} of {whole} is explained")
    return []


def _little(search: SearchFacts, gain: float) -> str:
    """The measurement of labels that are no more coherent than chance, as a message."""
    if search.gain_nats is None:
        return f"the labels are only {gain:.3f} nats per row more coherent than the same labels dealt out at random"
    if search.stop_reasons.get(StopReason.NOT_BORNE_OUT):
        seen = f"demonstrations do not confirm the first impression: {gain:.3f} nats per row beyond chance"
        return f"{seen}; the labels are those of the calibrated first impression"
    return f"the labels gain only {gain:.3f} nats per row over their shares"


def _known_all_the_same(evidence: Evidence) -> str:
    """Another labelling which shows that the language model can distinguish the rows; empty if there is none."""
    better, alike = _gains_more(evidence), _labels_alike(evidence)
    if better is not None:
        seen = f"the gain of {words_for(better.name)} is {better.gain_nats:.3f} nats per row"
    elif alike is not None:
        rows = counted(alike.rows, "row")
        seen = f"{words_for(alike.name)} agree on {alike.agreement:.0%} of {rows}, more than by chance"
    else:
        return ""
    advice = "the language model does distinguish the rows, so compare a sample of both with your own judgement"
    return f"; yet {seen}: {advice}"


def _gains_more(evidence: Evidence) -> RankedLabelling | None:
    """The labelling of the highest gain, if it is far above that of the labels found."""
    own = found_gain(evidence.ranking)
    best = max(evidence.ranking, key=lambda row: row.gain_nats or 0.0, default=None)
    if own is None or best is None or best.gain_nats is None:
        return None
    least = GAINS_MORE_SHARE * math.log(max(2, len(evidence.shares)))
    return best if best.gain_nats - max(own, 0.0) >= least else None


def _labels_alike(evidence: Evidence) -> RankedLabelling | None:
    """The baseline that agrees best with the labels, if beyond chance and if the labels do not come from it."""
    own_sources = ("zero_shot", "zero_shot_calibrated", FIRST_IMPRESSION)
    is_borne_out = not evidence.search.stop_reasons.get(StopReason.NOT_BORNE_OUT)
    baselines = [row for row in evidence.ranking if not row.demonstrations or row.name == FIRST_IMPRESSION]
    independent = [row for row in baselines if is_borne_out or row.name not in own_sources]
    best = max(independent, key=lambda row: row.kappa or 0.0, default=None)
    if best is None or best.kappa is None:
        return None
    return best if best.kappa >= max(AGREES_KAPPA, AGREES_ERRORS / math.sqrt(max(1, best.rows))) else None


def _polarity(evidence: Evidence) -> list[Reason]:
    """Labels are doubtful if the search can hardly distinguish them from their inversion."""
    nats = evidence.coherence.polarity_nats
    decided = (evidence.search.polarity_nats or 0.0) >= POLARITY_SEQUENCE_NATS
    if nats is None or nats >= POLARITY_NATS or decided:
        return []
    message = f"with the labels swapped the utility is only {nats:.3f} nats per row lower: they may be inverted"
    return _suspicious("polarity", message)


def _polarity_trial(evidence: Evidence) -> list[Reason]:
    """Labels are doubtful if a training learns swapped ones faster, since it learns faster what the model knows."""
    trial = evidence.search.polarity_trial
    if trial is None or trial.found_nats - trial.permuted_nats <= POLARITY_TRIAL_ERRORS * trial.error_nats:
        return []
    message = (
        f"after an epoch on some rows, {counted(trial.rows, 'other')} cost {trial.permuted_nats:.3f} nats each with "
        f"the labels swapped and {trial.found_nats:.3f} as they are: swapped ones are learned faster, so they may be "
        "inverted"
    )
    return _suspicious("polarity_trial", message)


def _restarts(evidence: Evidence) -> list[Reason]:
    agreement = evidence.coherence.restart_agreement
    if agreement is None or agreement >= RESTARTS_AGREE:
        return []
    message = f"independent starts of the search agree with the best one on {agreement:.0%} of the rows only"
    return _suspicious("restarts_disagree", message)


def _shortcut(evidence: Evidence) -> list[Reason]:
    """Only the strongest feature counts, since correlated features would repeat the same reason."""
    strong = [s for s in evidence.shortcuts if s.above_majority >= SHORTCUT and not s.is_claim]
    if not strong:
        return []
    found = max(strong, key=lambda shortcut: shortcut.above_majority)
    message = f"{name_of(found)} alone predicts the labels (balanced accuracy {found.balanced_accuracy:.2f})"
    return _suspicious("shortcut", f"{message}: they may follow it in place of your question")


def _reward(evidence: Evidence) -> list[Reason]:
    """Labels by a reward model are as good as the model, which pairs held out of its training measure."""
    basis = evidence.reward
    if basis is None:
        return []
    agreement = basis.agreement
    if agreement is None:
        message = "no pairs were held out of the training of the reward model, so nothing measures how good it is"
        return _suspicious("reward_unmeasured", message)
    message = (
        f"the reward model ranks {agreement.hits} of {counted(agreement.rows, 'held-out pair')} as their labels do"
    )
    if agreement.lower <= REWARD_CHANCE:
        return _unusable("reward_chance", f"{message}, which may be chance")
    return _suspicious("reward_weak", message) if agreement.share < WEAK_REWARD else []


def _reward_source(evidence: Evidence) -> list[Reason]:
    """A reward model repeats the faults of the labels that it learned."""
    if evidence.reward is None or not evidence.reward.forced:
        return []
    jobs = ", ".join(evidence.reward.job_ids)
    message = f"the reward model was trained with force, so the report of {jobs} may say do_not_use: read it first"
    return _suspicious("reward_forced", message)


def name_of(shortcut: Shortcut) -> str:
    """The feature's name for messages."""
    match shortcut.kind:
        case FeatureKind.LENGTH:
            return "the length of the text"
        case FeatureKind.POSITION:
            return "the position in the data set"
        case FeatureKind.COLUMN:
            return f"column {shortcut.column!r}"
        case FeatureKind.COLUMN_LENGTH:
            return f"the length of column {shortcut.column!r}"


RULES: tuple[Callable[[Evidence], list[Reason]], ...] = (
    _unfinished,
    _limit,
    _collapse,
    _few,
    _uncertain,
    _expected_errors,
    _conflicts,
    _known,
    _concept,
    _polarity,
    _polarity_trial,
    _restarts,
    _shortcut,
    _reward,
    _reward_source,
)
