"""Creates the report on the quality of a job's labels: gathers evidence in one pass over the rows, and judges it."""

from collections.abc import Mapping
from dataclasses import dataclass

from anyio import to_thread

from service.identifiers import JobId, Label, Row
from service.jobs.reporting.baselines import Baseline, compare
from service.jobs.reporting.calibration import Calibration, GoldAgreement, GoldTally
from service.jobs.reporting.coherence import Coherence, coherence
from service.jobs.reporting.facts import SearchFacts, Summaries, read_summaries
from service.jobs.reporting.population import FoundShare, found_shares
from service.jobs.reporting.proportions import Proportion, known_accuracy
from service.jobs.reporting.ranking import RankedLabelling, ranked
from service.jobs.reporting.rewards import RewardBasis, reward_basis
from service.jobs.reporting.sample import RowSample
from service.jobs.reporting.shortcuts import Shortcut, find_shortcuts
from service.jobs.reporting.tally import ConfidenceBin, Tally, label_shares
from service.jobs.reporting.verdicts import Evidence, Reason, Verdict, judge, worst
from service.jobs.task.gold import GoldReader
from service.ports.store import ProjectStore, ProjectUnit
from service.records.jobs import Job
from service.records.labels import LabelStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The cost of the labels so far."""

    prompts: int
    prompts_remembered: int  # prompts with a stored answer of this job or another, at no cost
    tokens_sent: int
    tokens_computed: int
    tokens_computed_per_row: float | None
    seconds: float | None  # from the first claim to the end


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All evidence about the quality of a job's labels, and the verdict."""

    job: Job
    verdict: Verdict
    reasons: list[Reason]
    labels: list[FoundShare]
    statuses: Mapping[LabelStatus, int]
    unsure: int  # rows without a label or with a small margin
    confidence: list[ConfidenceBin]
    coherence: Coherence
    shortcuts: list[Shortcut]
    search: SearchFacts
    baselines: list[Baseline]
    ranking: list[RankedLabelling]
    cost: Cost
    reward_model: RewardBasis | None  # None where a language model was asked
    known_accuracy: Proportion | None  # on known rows that were not shown as demonstrations
    gold: GoldAgreement
    calibration: Calibration | None


@dataclass(frozen=True)
class _Gathered:
    """The data gathered in one pass over a job's rows."""

    job: Job
    summaries: Summaries
    tally: Tally
    sample: RowSample
    gold: GoldTally
    found: Mapping[Row, Label]  # the job's labels of the rows that baselines have labelled
    gold_labels: Mapping[Row, Label]  # gold labels of the same rows


async def report(store: ProjectStore, job_id: JobId) -> Report:
    """Report on the job's present labels. Raises JobNotFound."""
    async with store.project_unit() as unit:
        gathered = await _gather(unit, job_id)
    shortcuts = await to_thread.run_sync(find_shortcuts, gathered.sample)
    return _assemble(gathered, shortcuts)


async def _gather(unit: ProjectUnit, job_id: JobId) -> _Gathered:
    job = await unit.jobs.get(job_id)
    task = job.config.task
    columns, gold_field = await unit.jobs.columns(job_id)
    features = tuple(column for column in columns if column not in (task.id_field, task.known_field, gold_field))
    summaries = await read_summaries(unit, job_id)
    compared = {row for labelling in summaries.baselines().values() for row in labelling}
    tally, sample = Tally(), RowSample(task, features, job.progress.rows)
    found: dict[Row, Label] = {}
    async for row in unit.labels.result(job_id):
        tally.add(row.state)
        sample.add(row)
        if row.state.label is not None and row.state.position in compared:
            found[row.state.position] = row.state.label
    reader, gold_labels = GoldReader(task), dict[Row, Label]()
    gold = GoldTally(reader)
    if task.gold_field is not None:
        async for state, text in unit.gold.pairs(job_id):
            gold.add(state, text)
            if state.position in compared and (gold_label := reader.of(text)) is not None:
                gold_labels[state.position] = gold_label
    return _Gathered(job, summaries, tally, sample, gold, found, gold_labels)


def _assemble(gathered: _Gathered, shortcuts: list[Shortcut]) -> Report:
    job, labels = gathered.job, gathered.job.config.task.labels
    search = gathered.summaries.search_facts(job.progress.utility)
    baselines = compare(gathered.summaries.baselines(), gathered.found, gathered.gold_labels, labels)
    ranking = ranked(gathered.summaries.labellings(), baselines, job.config.search.alpha)
    basis = reward_basis(gathered.summaries.rewards)
    evidence = Evidence(
        job=job,
        shares=label_shares(gathered.tally.labels, labels),
        unsure=gathered.tally.unsure,
        search=search,
        coherence=coherence(job.config.search, search),
        shortcuts=shortcuts,
        ranking=ranking,
        reward=basis,
    )
    reasons = judge(evidence)
    return Report(
        job=job,
        verdict=worst(reasons),
        reasons=reasons,
        labels=found_shares(evidence.shares, gathered.summaries.expected_counts),
        statuses={status: gathered.tally.statuses.get(status, 0) for status in LabelStatus},
        unsure=evidence.unsure,
        confidence=gathered.tally.confidence_bins(),
        coherence=evidence.coherence,
        shortcuts=shortcuts,
        search=search,
        baselines=baselines,
        ranking=ranking,
        cost=_cost(job, gathered.summaries),
        reward_model=basis,
        known_accuracy=known_accuracy(search) if basis is None else basis.known_accuracy,
        gold=gathered.gold.agreement(),
        calibration=gathered.gold.calibration(),
    )


def _cost(job: Job, summaries: Summaries) -> Cost:
    progress = job.progress
    return Cost(
        prompts=progress.prompts,
        prompts_remembered=summaries.prompts_remembered,
        tokens_sent=progress.tokens_sent,
        tokens_computed=progress.tokens_computed,
        tokens_computed_per_row=progress.tokens_computed / progress.rows if progress.rows else None,
        seconds=(job.finished_at - job.started_at).total_seconds() if job.finished_at and job.started_at else None,
    )
