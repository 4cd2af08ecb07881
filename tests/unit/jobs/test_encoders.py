import io
from collections.abc import Mapping
from typing import Any, assert_never

import orjson
import pyarrow.parquet as pq
import pytest

from service.jobs.export.csv_encoder import CsvEncoder
from service.jobs.export.encoder import Encoder
from service.jobs.export.jsonl_encoder import JsonlEncoder
from service.jobs.export.results import ENCODERS
from service.result_formats import ENDINGS, ResultFormat, in_words

ROWS: list[Mapping[str, Any]] = [
    {"b": 1, "a": "x, y", "icm_label": "True", "icm_confidence": 0.5},
    {"a": 'say "so"\r', "icm_label": None, "icm_confidence": None},
]


def encoded(encoder: Encoder) -> bytes:
    """Both rows, each as a batch of its own."""
    if encoder.reads_twice:
        encoder.look_at(ROWS)
    return b"".join([encoder.header(), *(encoder.encode([row]) for row in ROWS), encoder.footer()])


def of(kind: type[Encoder], *, formula_safe: bool = False) -> Encoder:
    return kind(("b", "a"), ("icm_label", "icm_confidence"), formula_safe=formula_safe)


def rows_of(content: bytes, form: ResultFormat) -> int:
    """How many rows a reader of the format finds."""
    match form:
        case ResultFormat.PARQUET:
            rows: int = pq.read_table(io.BytesIO(content)).num_rows
            return rows
        case ResultFormat.CSV:
            return content.count(b"\n") - 1
        case ResultFormat.JSONL:
            return content.count(b"\n")
        case _:
            assert_never(form)


@pytest.mark.parametrize("form", ResultFormat)
def test_every_format_has_an_encoder_that_writes_every_row_once(form: ResultFormat) -> None:
    assert rows_of(encoded(of(ENCODERS[form])), form) == len(ROWS)


def test_json_lines_are_rows_as_they_are() -> None:
    assert [orjson.loads(line) for line in encoded(of(JsonlEncoder)).splitlines()] == ROWS


def test_csv_has_its_columns_first_and_every_one_in_every_record() -> None:
    assert encoded(of(CsvEncoder)) == (b'b,a,icm_label,icm_confidence\n1,"x, y",True,0.5\n"","say ""so""\r","",""\n')


@pytest.mark.parametrize(("text", "cell"), [("=1+1", "'=1+1"), ("-", "'-"), ("a=1", "a=1")])
def test_csv_for_spreadsheets_quotes_all_cells_and_marks_formulas(text: str, cell: str) -> None:
    encoder = CsvEncoder(("a",), ("icm_margin",), formula_safe=True)
    written = encoder.header() + encoder.encode([{"a": text, "icm_margin": -1.5}])
    assert written.decode() == f'"a","icm_margin"\n"{cell}","-1.5"\n'


def test_formats_are_named_in_words() -> None:
    assert ENDINGS == ".jsonl, .csv or .parquet"
    assert [in_words(words) for words in ([], ["a"], ["a", "b"])] == ["", "a", "a or b"]
    assert [form for form in ResultFormat if form.for_spreadsheets] == [ResultFormat.CSV]
