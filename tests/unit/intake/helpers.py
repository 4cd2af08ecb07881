"""Reads bytes as an upload would be read."""

import io

from service.errors import Fault, InvalidDataset
from service.intake.bounds.limits import Limits
from service.intake.formats import Upload
from service.intake.sources import FileSource
from service.jobs.checks.rows import FaultLog, SourceRow

SMALL = Limits(max_bytes=1_000_000, max_rows=1_000, max_row_bytes=1_000)


def read(
    content: bytes, name: str | None = None, *, limits: Limits = SMALL, kind: str | None = None
) -> list[SourceRow]:
    """All rows. Raises InvalidDataset if there is a fault."""
    faults = FaultLog(max_reported=100)
    with FileSource(io.BytesIO(content), Upload(name, kind), limits) as source:
        rows = list(source.rows(faults))
    faults.raise_any()
    return rows


def faults_in(content: bytes, name: str | None = None, *, limits: Limits = SMALL) -> list[Fault]:
    """The faults of the file."""
    try:
        read(content, name, limits=limits)
    except InvalidDataset as error:
        return list(error.faults)
    return []


def assumed(content: bytes, name: str | None = None) -> tuple[str, ...]:
    """The warnings about how the file was read."""
    faults = FaultLog(max_reported=100)
    with FileSource(io.BytesIO(content), Upload(name, None), SMALL) as source:
        list(source.rows(faults))
    faults.raise_any()
    return faults.assumptions
