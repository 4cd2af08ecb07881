"""The verdict that the service would give the labels of a cell, and whether it is right."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from api.labelling.configuration import parse_config
from benchmarks.real.cells import Cell, Measured
from benchmarks.real.tasks import TASKS
from benchmarks.tables import markdown
from service.config import JobConfig
from service.identifiers import DatasetId, JobId, Label
from service.jobs.reporting.coherence import coherence
from service.jobs.reporting.facts import Summaries
from service.jobs.reporting.tally import label_shares
from service.jobs.reporting.verdicts import Evidence, Reason, Verdict, judge, worst
from service.records.jobs import Job, JobStatus, Progress

NEAR_GOLD = 0.05  # below calibrated gold many-shot prompting: labels as good as that are right
JUDGED = ("default", "default_known")
REFERENCE = "gold_many_shot_calibrated"

Kept = Mapping[Cell, Measured]


@dataclass(frozen=True, slots=True)
class Judged:
    """A cell's verdict with its reasons; `is_right` says whether the labels are nearly as good as gold prompting's."""

    cell: Cell
    verdict: Verdict
    codes: tuple[str, ...]
    is_right: bool


def judged(kept: Kept) -> list[Judged]:
    """Every run of the service for which the reference was measured, too."""
    found = []
    for cell, measured in kept.items():
        reference = _of_method(kept, cell, REFERENCE)
        if cell.method in JUDGED and reference is not None:
            reasons = reasons_for(cell, measured)
            codes = tuple(reason.code for reason in reasons)
            is_right = measured["accuracy"] >= reference["accuracy"] - NEAR_GOLD - 1e-9
            found.append(Judged(cell, worst(reasons), codes, is_right))
    return found


def reasons_for(cell: Cell, measured: Measured) -> list[Reason]:
    """The reasons against the labels by the report's rules, without those about shortcuts, which need the rows."""
    config = parse_config(TASKS[cell.task].config)
    labels = config.task.labels
    facts = measured["facts"]
    counts = Counter({Label(n): round(measured["shares"][label] * cell.rows) for n, label in enumerate(labels)})
    search = Summaries(anchor=facts, stop_reasons={facts["stop"]: 1}).search_facts(measured["utility"])
    evidence = Evidence(
        job=_job(cell, config, measured["conflicts"]),
        shares=label_shares(counts, labels),
        unsure=measured["unsure"],
        search=search,
        coherence=coherence(config.search, search),
    )
    return judge(evidence)


def confusion(found: list[Judged]) -> str:
    """How often right and wrong labels got which verdict, in Markdown."""
    counts = Counter((one.is_right, one.verdict) for one in found)
    rows = [
        (name, *(str(counts[is_right, verdict]) for verdict in Verdict))
        for is_right, name in ((True, "right"), (False, "wrong"))
    ]
    return markdown(("labels", *(f"`{verdict}`" for verdict in Verdict)), rows)


def surprises(found: list[Judged]) -> Iterator[tuple[str, ...]]:
    """Right labels that are not to be used, and wrong ones that are called ok: a line for each."""
    for one in found:
        if (one.is_right, one.verdict) in ((True, Verdict.DO_NOT_USE), (False, Verdict.OK)):
            yield str(one.cell), f"`{one.verdict}`", "right" if one.is_right else "wrong", ", ".join(one.codes)


def _of_method(kept: Kept, cell: Cell, method: str) -> Measured | None:
    key = Cell(task=cell.task, model=cell.model, seed=cell.seed, method=method, rows=cell.rows)
    return kept.get(key)


def _job(cell: Cell, config: JobConfig, conflicts: int) -> Job:
    return Job(
        id=JobId("benchmark"),
        dataset_id=DatasetId(cell.task),
        config=config,
        status=JobStatus.SUCCEEDED,
        created_at=datetime(1970, 1, 1, tzinfo=UTC),
        progress=Progress(rows=cell.rows, labeled=cell.rows, inconsistencies=conflicts),
    )
