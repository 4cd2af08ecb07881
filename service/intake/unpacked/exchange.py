"""What the process that reads Parquet files and workbooks gets, and what it answers; loads neither library."""

from dataclasses import dataclass

from service.errors import Fault
from service.intake.bounds.limits import Limits

CPU_SECONDS = 300  # that the process may take


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """The process's argument on its command line, as JSON."""

    lines_fd: int
    limits: Limits
    form: str = "Parquet"  # or "Excel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result: listed faults, counts of all faults by field, assumptions, types; or the reason why it failed."""

    faults: tuple[Fault, ...] = ()
    counts: tuple[tuple[str | None, int], ...] = ()
    assumptions: tuple[str, ...] = ()
    arrow_schema: str | None = None  # in base 64
    doubt_about_names: str | None = None
    too_large: str | None = None
    no_room: bool = False
