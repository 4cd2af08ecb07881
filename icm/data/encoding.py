"""Writes rows in a format of results, with the service's own encoders; each loads on first use."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

from icm.errors import MissingLibrary
from service.jobs.export.encoder import Encoder
from service.result_formats import ResultFormat

Row = Mapping[str, Any]


def columns_of(rows: Iterable[Row], found: Sequence[str]) -> list[str]:
    """The columns of rows in the order of their first appearance, without those that were found."""
    return [name for name in dict.fromkeys(name for row in rows for name in row) if name not in found]


def encoded(
    form: ResultFormat,
    chunks: Iterable[Sequence[Row]],
    columns: Sequence[str],
    found: Sequence[str],
    *,
    arrow_schema: bytes | None,
) -> Iterator[bytes]:
    """The bytes of a file with these columns, then those that were found. Raises MissingLibrary.

    `chunks` are read one by one, unless the columns' types depend on all rows.
    """
    encoder = _encoder(form)(columns, found, arrow_schema=arrow_schema)
    if encoder.reads_twice:
        chunks = list(chunks)
        for chunk in chunks:
            encoder.look_at(chunk)
    yield encoder.header()
    for chunk in chunks:
        yield encoder.encode(chunk)
    yield encoder.footer()


def _encoder(form: ResultFormat) -> type[Encoder]:
    try:
        found: type[Encoder] = import_module(f"service.jobs.export.{form}_encoder").ENCODER
    except ModuleNotFoundError as error:
        message = f"{error.name} is not installed here, which writes {form} files: pip install 'icm-service[server]'"
        raise MissingLibrary(message) from error
    return found
