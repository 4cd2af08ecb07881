"""The written rules by which labels are judged; gold has no part in them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from service.config import JobConfig, Normalization
from service.entities import Job, JobStatus, LabelStatus

IMBALANCE = 0.95  # share of the commonest label from which the labels are suspicious
UNCERTAIN = (0.2, 0.5)  # share of uncertain or unlabelled rows: suspicious, not to be used
CONFLICTS = 0.05  # unresolved conflicts per row from which the labels are not to be used
POLARITY_SEQUENCE_NATS = 1.5  # per short sequence: beyond odds of four to one the polarity is the model's own
POLARITY_NATS = 0.02  # per row: so near the complement's utility, the labels may be inverted as a whole
FEW_ROWS = 8  # in so small a set one label for all rows proves nothing


class Verdict(StrEnum):
    """What to do with the labels, from good to bad."""

    OK = "ok"
    SUSPICIOUS = "suspicious"
    DO_NOT_USE = "do_not_use"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One rule that spoke against the labels, and how far that drags the verdict down."""

    code: str
    verdict: Verdict
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelShare:
    """How many rows have a label."""

    label: str
    rows: int
    share: float  # of the labelled rows


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchFacts:
    """What the search said about itself; null where it said nothing."""

    utility: float | None  # mean over all rows
    anchor_rows: int | None
    anchor_utility: float | None
    polarity_nats: float | None  # joint log-probability of short sequences against their mirror, where that decided
    complement_utility: float | None  # of the best labelling of the anchor with its labels permuted
    restart_utilities: list[float]
    stop_reasons: dict[str, int]  # how many shards stopped why


def judge(
    job: Job, shares: Sequence[LabelShare], statuses: Mapping[LabelStatus, int], search: SearchFacts
) -> list[Reason]:
    """Every reason to doubt the labels."""
    return [
        *_unfinished(job),
        *_collapse(shares),
        *_doubt(job, statuses),
        *_conflicts(job),
        *_polarity(job.config, search),
    ]


def _suspicious(code: str, message: str) -> Reason:
    return Reason(code=code, verdict=Verdict.SUSPICIOUS, message=message)


def _unusable(code: str, message: str) -> Reason:
    return Reason(code=code, verdict=Verdict.DO_NOT_USE, message=message)


def _unfinished(job: Job) -> list[Reason]:
    match job.status:
        case JobStatus.SUCCEEDED:
            return []
        case JobStatus.FAILED:
            return [_unusable("failed", "the job failed before all rows were labelled")]
        case _:
            return [_suspicious("unfinished", f"the job is {job.status}: the labels are not final")]


def _collapse(shares: Sequence[LabelShare]) -> list[Reason]:
    """One label for everything is coherent and says nothing."""
    labelled = sum(share.rows for share in shares)
    commonest = max(shares, key=lambda share: share.rows)
    if labelled == 0:
        return [_unusable("no_labels", "no row has a label")]
    if labelled < FEW_ROWS:
        return []
    if commonest.rows == labelled:
        return [_unusable("class_collapse", f"all {labelled} labelled rows have the label {commonest.label!r}")]
    if commonest.share >= IMBALANCE:
        return [
            _suspicious("imbalance", f"{commonest.share:.1%} of the labelled rows have the label {commonest.label!r}")
        ]
    return []


def _doubt(job: Job, statuses: Mapping[LabelStatus, int]) -> list[Reason]:
    rows = max(1, job.progress.rows)
    share = (job.progress.rows - statuses.get(LabelStatus.LABELED, 0)) / rows
    message = f"{share:.1%} of the rows are uncertain or have no label"
    if share >= UNCERTAIN[1]:
        return [_unusable("uncertain", message)]
    return [_suspicious("uncertain", message)] if share >= UNCERTAIN[0] else []


def _conflicts(job: Job) -> list[Reason]:
    conflicts, rows = job.progress.inconsistencies, max(1, job.progress.rows)
    message = f"{conflicts} relations between rows are still broken"
    if conflicts > CONFLICTS * rows:
        return [_unusable("conflicts", message)]
    return [_suspicious("conflicts", message)] if conflicts else []


def _polarity(config: JobConfig, search: SearchFacts) -> list[Reason]:
    """Whether the labels could as well be swapped: the utility is put back into nats per row."""
    if search.anchor_utility is None or search.complement_utility is None:
        return []
    scale = config.search.alpha
    if config.search.normalization is Normalization.SUM:
        scale *= max(1, search.anchor_rows or 1)
    nats = (search.anchor_utility - search.complement_utility) / scale
    if nats >= POLARITY_NATS or (search.polarity_nats or 0.0) >= POLARITY_SEQUENCE_NATS:
        return []
    message = f"with all labels swapped the utility is only {nats:.3f} nats per row lower: they may be inverted"
    return [_suspicious("polarity", message)]
