"""The argument and the outcome of the process that reads Parquet files and workbooks; loads neither library."""

from dataclasses import dataclass

from service.intake.bounds.limits import Limits
from service.jobs.checks.rows import Alike

CPU_SECONDS = 300  # that the process may take


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """The process's argument on its command line, as JSON."""

    lines_fd: int
    limits: Limits
    form: str = "Parquet"  # or "Excel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result: faults by cause, counts of all faults by field, assumptions, types; or the reason why it failed."""

    faults: tuple[Alike, ...] = ()
    counts: tuple[tuple[str | None, int], ...] = ()
    assumptions: tuple[str, ...] = ()
    arrow_schema: str | None = None  # in base 64
    doubt_about_names: str | None = None
    too_large: str | None = None
    no_room: bool = False
