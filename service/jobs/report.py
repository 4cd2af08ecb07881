"""Says how far a job's labels deserve trust, by a few written rules."""

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.entities import Job, LabelStatus
from service.identifiers import JobId, Label
from service.jobs.judgement import LabelShare, Reason, SearchFacts, Verdict, judge
from service.ports import Desk, Store

_PAGE = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What the labels cost so far."""

    prompts: int
    tokens_sent: int
    tokens_computed: int
    tokens_computed_per_row: float | None
    seconds: float | None  # from the first claim to the end


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldAgreement:
    """The labels against gold, compared as text, ignoring case."""

    rows: int = 0  # rows with a gold value
    labeled: int = 0  # those among them that were given a label
    agreeing: int = 0

    @property
    def accuracy(self) -> float | None:
        """The share of labelled gold rows that agree."""
        return self.agreeing / self.labeled if self.labeled else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that is known about the quality of a job's labels."""

    job: Job
    verdict: Verdict
    reasons: list[Reason]
    labels: list[LabelShare]
    statuses: Mapping[LabelStatus, int]
    search: SearchFacts
    cost: Cost
    gold: GoldAgreement


async def report(store: Store, job_id: JobId) -> Report:
    """Judge the job's labels as they are now. Raises JobNotFound."""
    async with store.desk() as desk:
        job = await desk.jobs.get(job_id)
        labels, statuses = await _count(desk, job_id)
        search = _search_facts(job, await _summaries(desk, job_id))
        gold = await _compare(desk, job)
    shares = _shares(labels, job.config.task.labels)
    reasons = judge(job, shares, statuses, search)
    return Report(
        job=job,
        verdict=max((reason.verdict for reason in reasons), key=list(Verdict).index, default=Verdict.OK),
        reasons=reasons,
        labels=shares,
        statuses=statuses,
        search=search,
        cost=_cost(job),
        gold=gold,
    )


async def _count(desk: Desk, job_id: JobId) -> tuple[Counter[Label], Counter[LabelStatus]]:
    labels: Counter[Label] = Counter()
    statuses: Counter[LabelStatus] = Counter()
    after: tuple[float, int] | None = None
    while page := await desk.labels.page(job_id, limit=_PAGE, after=after, by_confidence=False):
        labels.update(state.label for _, state in page if state.label is not None)
        statuses.update(state.status for _, state in page)
        after = (0.0, page[-1][1].position)
    return labels, statuses


async def _summaries(desk: Desk, job_id: JobId) -> list[Mapping[str, Any]]:
    """What each finished shard said about its search."""
    return [event["summary"] async for event in _finished(desk, job_id) if isinstance(event.get("summary"), Mapping)]


async def _finished(desk: Desk, job_id: JobId) -> AsyncIterator[Mapping[str, Any]]:
    after = 0
    while page := await desk.events.after(job_id, after, limit=_PAGE):
        for event in page:
            if event.type == "shard.finished":
                yield event.data
        after = page[-1].sequence


def _search_facts(job: Job, summaries: Sequence[Mapping[str, Any]]) -> SearchFacts:
    """Only the anchor, or the only shard, tries permuted labels and restarts."""
    anchor = next((summary for summary in summaries if summary.get("permuted_utility") is not None), {})
    restarts: Sequence[float] = next((s["restart_utilities"] for s in summaries if s.get("restart_utilities")), [])
    return SearchFacts(
        utility=job.progress.utility,
        anchor_rows=anchor.get("rows"),
        anchor_utility=anchor.get("utility"),
        complement_utility=anchor.get("permuted_utility"),
        polarity_nats=anchor.get("polarity_nats"),
        restart_utilities=list(restarts),
        stop_reasons=dict(Counter(str(s["stop_reason"]) for s in summaries if s.get("stop_reason") is not None)),
    )


async def _compare(desk: Desk, job: Job) -> GoldAgreement:
    names = [label.casefold() for label in job.config.task.labels]
    rows = labeled = agreeing = 0
    if job.config.task.gold_field is not None:
        async for label, gold in desk.gold.pairs(job.id):
            if not gold.strip():
                continue  # an empty cell of a CSV
            rows += 1
            labeled += label is not None
            agreeing += label is not None and names[label] == gold.strip().casefold()
    return GoldAgreement(rows=rows, labeled=labeled, agreeing=agreeing)


def _shares(counts: Counter[Label], labels: Sequence[str]) -> list[LabelShare]:
    total = max(1, counts.total())
    rows = [counts[Label(number)] for number in range(len(labels))]
    return [LabelShare(label=name, rows=n, share=n / total) for name, n in zip(labels, rows, strict=True)]


def _cost(job: Job) -> Cost:
    progress = job.progress
    return Cost(
        prompts=progress.prompts,
        tokens_sent=progress.tokens_sent,
        tokens_computed=progress.tokens_computed,
        tokens_computed_per_row=progress.tokens_computed / progress.rows if progress.rows else None,
        seconds=(job.finished_at - job.started_at).total_seconds() if job.finished_at and job.started_at else None,
    )
