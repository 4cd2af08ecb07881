"""Drops or renames the result columns of a data set that this service has labelled before."""

from collections.abc import Iterator

from service.config import EarlierResults
from service.jobs.checks.rows import FaultLog, RowSource, SourceRow
from service.jobs.checks.survey import RAW_PROBABILITY
from service.result_formats import RESULT_COLUMNS

_OURS = frozenset((*RESULT_COLUMNS, RAW_PROBABILITY))
_PREFIX = "earlier_"


def without_earlier_results(source: RowSource, wanted: EarlierResults) -> RowSource:
    """The data set, with earlier result columns dropped or renamed if the configuration says so."""
    return source if wanted is EarlierResults.REFUSE else _Changed(source, wanted)


class _Changed:
    """A data set with earlier result columns dropped or renamed."""

    def __init__(self, source: RowSource, wanted: EarlierResults) -> None:
        self._source, self._wanted = source, wanted

    def rows(self, faults: FaultLog) -> Iterator[SourceRow]:
        """See RowSource."""
        for row in self._source.rows(faults):
            if _OURS.isdisjoint(row.fields):
                yield row
            elif self._wanted is EarlierResults.DROP:
                yield SourceRow(row.line, {name: value for name, value in row.fields.items() if name not in _OURS})
            elif (taken := _taken(row)) is not None:
                faults.add(
                    "the column is there already, so that no column can be renamed to it", line=row.line, field=taken
                )
            else:
                yield SourceRow(row.line, {_new_name(name): value for name, value in row.fields.items()})

    def sha256(self) -> str:
        """See RowSource."""
        return self._source.sha256()


def _new_name(name: str) -> str:
    return _PREFIX + name if name in _OURS else name


def _taken(row: SourceRow) -> str | None:
    """A new name that another column already has; None if there is no such clash."""
    return next((_PREFIX + name for name in row.fields if name in _OURS and _PREFIX + name in row.fields), None)
