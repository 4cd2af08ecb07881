"""Rows are parsed once where they fit into memory, and later readings give the same rows."""

import io
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from service.errors import RequestTooSlow
from service.intake.bounds.kept_rows import KeptRows
from service.intake.formats import Upload
from service.intake.sources import FileSource
from service.jobs.checks.rows import FaultLog, SourceRow
from tests.unit.intake.helpers import SMALL

ROWS = [SourceRow(line, {"a": line, "text": "é" * line, "more": [None, True, {"x": 0.1}]}) for line in (1, 2, 5)]


class Parser:
    """Gives rows, and counts the readings that have begun."""

    def __init__(self, *rows: SourceRow, fault: str | None = None) -> None:
        self.readings = 0
        self._rows, self._fault = rows, fault

    def __call__(self, faults: FaultLog) -> Iterator[SourceRow]:
        self.readings += 1
        if self._fault is not None:
            faults.add(self._fault, line=9)
        yield from self._rows


@pytest.mark.parametrize("rows", [ROWS, []])
def test_rows_are_parsed_once_and_come_again_as_they_were(rows: list[SourceRow]) -> None:
    parser = Parser(*rows)
    kept = KeptRows(parser)
    assert [list(kept.rows(FaultLog())) for _ in range(3)] == [rows] * 3
    assert parser.readings == 1


def test_a_data_set_that_is_larger_than_the_memory_for_it_is_parsed_for_each_reading() -> None:
    parser = Parser(*ROWS)
    kept = KeptRows(parser, max_bytes=100)
    assert [list(kept.rows(FaultLog())) for _ in range(2)] == [ROWS] * 2
    assert parser.readings == 2


def test_faults_are_found_by_every_reading() -> None:
    parser = Parser(*ROWS, fault="cannot be read")
    kept = KeptRows(parser)
    for _ in range(2):
        faults = FaultLog()
        assert list(kept.rows(faults)) == ROWS
        assert [fault.message for fault in faults.reported] == ["cannot be read"]
    assert parser.readings == 2


def test_a_reading_that_was_broken_off_is_no_reading_of_all() -> None:
    parser = Parser(*ROWS)
    kept = KeptRows(parser)
    assert list(islice(kept.rows(FaultLog()), 2)) == ROWS[:2]
    assert list(kept.rows(FaultLog())) == ROWS
    assert parser.readings == 2


@pytest.mark.parametrize("value", ["\ud800", 2**70])
def test_a_value_that_is_no_json_is_left_to_the_checks(value: object) -> None:
    parser = Parser(SourceRow(1, {"a": value}))
    kept = KeptRows(parser)
    assert [list(kept.rows(FaultLog())) for _ in range(2)] == [[SourceRow(1, {"a": value})]] * 2


def parquet() -> bytes:
    table = pa.table({"a": [1, None, 2**63 - 1], "b": [0.1, -1e300, float("nan")], "c": [["x"], [], None]})
    file = io.BytesIO()
    pyarrow.parquet.write_table(table, file)
    return file.getvalue()


CONTENTS = {
    "a.jsonl": b'{"a": 1e300, "b": -9223372036854775808}\n\n{"a": 0.1, "b": "\xc3\xa9\\n", "c": [[{"d": null}]]}\n',
    "a.csv": b'a,b\n1,"x\ny"\n,0.10\n',
    "a.parquet": parquet(),
}


@pytest.mark.usefixtures("reader_without_a_process")
@pytest.mark.parametrize("name", CONTENTS)
def test_a_second_reading_of_a_file_gives_what_parsing_it_again_would(name: str) -> None:
    def source() -> FileSource:
        return FileSource(io.BytesIO(CONTENTS[name]), Upload(name, None), SMALL)

    def read(found: FileSource) -> list[tuple[int, dict[str, Any]]]:
        return [(row.line, dict(row.fields)) for row in found.rows(FaultLog())]

    with source() as once, source() as again:
        assert read(once) == read(once) == read(again)
        assert repr(read(once)) == repr(read(again))


def test_a_second_reading_ends_too_once_the_client_has_left() -> None:
    with FileSource(io.BytesIO(CONTENTS["a.jsonl"]), Upload("a.jsonl", None), SMALL) as source:
        assert len(list(source.rows(FaultLog()))) == 2
        source.cancel()
        with pytest.raises(RequestTooSlow):
            list(source.rows(FaultLog()))


def test_a_source_that_was_closed_has_freed_its_rows() -> None:
    with FileSource(io.BytesIO(CONTENTS["a.jsonl"]), Upload("a.jsonl", None), SMALL) as source:
        list(source.rows(FaultLog()))
        assert source._kept._kept is not None
    assert source._kept._kept is None
