"""Excel workbooks: the first sheet with cells, its first row the names; limits as for Parquet."""

import io
import zipfile
from collections.abc import Callable
from typing import Any
from xml.sax.saxutils import escape

import pytest

from service.errors import InvalidDataset, PayloadTooLarge, UnsupportedFormat
from service.intake.formats import Format, Upload, detect_format
from service.intake.sources import FileSource
from service.jobs.checks.rows import FaultLog
from tests.unit.intake.helpers import SMALL

_CONTENT = "http://schemas.openxmlformats.org/package/2006/content-types"
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_LINKS = "http://schemas.openxmlformats.org/package/2006/relationships"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
DAY = "day"  # a number that is shown as a date


def _cell(value: Any, place: str) -> str:
    match value:
        case None:
            return ""
        case bool():
            return f'<c r="{place}" t="b"><v>{int(value)}</v></c>'
        case int() | float():
            return f'<c r="{place}"><v>{value}</v></c>'
        case (number, name) if name == DAY:
            return f'<c r="{place}" s="1"><v>{number}</v></c>'
        case _:
            return f'<c r="{place}" t="inlineStr"><is><t xml:space="preserve">{escape(value)}</t></is></c>'


def _sheet(rows: list[list[Any]], first: int) -> str:
    lines = ""
    for number, row in enumerate(rows, first):
        cells = "".join(_cell(value, f"{chr(65 + at)}{number}") for at, value in enumerate(row))
        lines += f'<row r="{number}">{cells}</row>'
    return f'<worksheet xmlns="{_MAIN}"><sheetData>{lines}</sheetData></worksheet>'


def workbook(*sheets: tuple[str, list[list[Any]]], hidden: str = "", first: int = 1) -> bytes:
    """The bytes of a workbook, written by hand; rows count from `first`."""
    entries = links = ""
    parts = {}
    for number, (name, rows) in enumerate(sheets, 1):
        state = ' state="hidden"' if name == hidden else ""
        entries += f'<sheet name="{name}" sheetId="{number}"{state} r:id="r{number}"/>'
        links += f'<Relationship Id="r{number}" Type="{_OFFICE}/worksheet" Target="worksheets/sheet{number}.xml"/>'
        parts[f"xl/worksheets/sheet{number}.xml"] = _sheet(rows, first)
    links += f'<Relationship Id="s" Type="{_OFFICE}/styles" Target="styles.xml"/>'
    root = f'<Relationship Id="r" Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/>'
    formats = '<cellXfs><xf numFmtId="0"/><xf numFmtId="14"/></cellXfs>'
    parts |= {
        "[Content_Types].xml": f'<Types xmlns="{_CONTENT}"/>',
        "_rels/.rels": f'<Relationships xmlns="{_LINKS}">{root}</Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>{entries}</sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_LINKS}">{links}</Relationships>',
        "xl/styles.xml": f'<styleSheet xmlns="{_MAIN}">{formats}</styleSheet>',
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return packed.getvalue()


def read(content: bytes) -> tuple[list[tuple[int, dict[str, Any]]], FaultLog]:
    log = FaultLog(20)
    with FileSource(io.BytesIO(content), Upload("claims.xlsx", None), SMALL) as source:
        return [(row.line, dict(row.fields)) for row in source.rows(log)], log


def faults_of(content: bytes) -> list[tuple[int | None, str | None, str]]:
    _, log = read(content)
    with pytest.raises(InvalidDataset) as caught:
        log.raise_any()
    return [(fault.line, fault.field, fault.message) for fault in caught.value.faults]


CLAIMS: list[list[Any]] = [["claim", "n", "sure", "on"], ["2 is 3", 7.0, True, (45000, DAY)], ["é", 0.5, None, "x"]]


def test_cells_come_as_text_numbers_truth_and_dates_under_the_rows_of_the_sheet() -> None:
    rows, log = read(workbook(("Sheet1", CLAIMS)))
    log.raise_any()
    assert rows == [
        (2, {"claim": "2 is 3", "n": 7, "sure": True, "on": "2023-03-15"}),
        (3, {"claim": "é", "n": 0.5, "sure": None, "on": "x"}),
    ]
    assert log.assumptions == ()


@pytest.mark.usefixtures("reader_without_a_process")
def test_blank_rows_are_passed_over_and_numbers_stay_those_of_the_sheet() -> None:
    rows, _ = read(workbook(("S", [["claim"], ["a"], [None], ["b"]]), first=4))
    assert rows == [(5, {"claim": "a"}), (7, {"claim": "b"})]


@pytest.mark.usefixtures("reader_without_a_process")
def test_a_sheet_of_one_row_before_the_table_is_taken_for_notes() -> None:
    rows, log = read(workbook(("Read me", [["Made in May"]]), ("Data", CLAIMS)))
    assert [fields["claim"] for _, fields in rows] == ["2 is 3", "é"]
    assert log.assumptions == ("the sheet 'Data' was read, and 'Read me' was not",)


@pytest.mark.usefixtures("reader_without_a_process")
def test_the_first_visible_sheet_with_cells_is_read_and_the_others_are_named() -> None:
    content = workbook(("Notes", [["x"], ["y"]]), ("Empty", []), ("Data", CLAIMS), ("More", CLAIMS), hidden="Notes")
    rows, log = read(content)
    assert [fields["claim"] for _, fields in rows] == ["2 is 3", "é"]
    assert log.assumptions == ("the sheet 'Data' was read, and 'More' was not",)


@pytest.mark.usefixtures("reader_without_a_process")
def test_a_header_is_checked_as_that_of_csv_is() -> None:
    [(line, field, _)] = faults_of(workbook(("S", [["claim", "claim"], ["a", "b"]])))
    assert (line, field) == (1, "claim")
    rows, log = read(workbook(("S", [[None, "claim"], [0, "a"]])))
    assert rows == [(2, {"unnamed_1": 0, "claim": "a"})]
    assert log.assumptions == ("column 1 has no name in the header and is called 'unnamed_1'",)


@pytest.mark.usefixtures("reader_without_a_process")
def test_a_row_that_repeats_the_header_is_refused_by_its_number() -> None:
    [fault] = faults_of(workbook(("one", [["a", "b"], ["1", "2"], ["a", "b"], ["3", "4"]])))
    assert fault[:2] == (3, None)
    assert "repeats the names" in fault[2]


@pytest.mark.usefixtures("reader_without_a_process")
def test_a_row_or_a_workbook_beyond_the_limits_is_refused() -> None:
    [(line, _, message)] = faults_of(workbook(("S", [["claim"], ["a" * (SMALL.max_row_bytes + 1)]])))
    assert (line, message) == (2, f"the row has more than {SMALL.max_row_bytes} bytes")
    with pytest.raises(PayloadTooLarge):
        read(workbook(("S", [["n"], *([[1]] * (SMALL.max_rows + 1))])))


def archive(*names: str) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as packed:
        for name in names:
            packed.writestr(name, "<x/>")
    return sink.getvalue()


@pytest.mark.usefixtures("reader_without_a_process")
@pytest.mark.parametrize(
    ("spoilt", "words"),
    [
        (lambda book: book[:-40], "cut off"),
        (lambda book: book[: len(book) // 2], "cut off"),
        (lambda book: b"PK\x03\x04" + book[300:], "damaged"),
        (lambda _: archive("rows.csv"), "without a workbook"),
        (lambda _: archive("[Content_Types].xml", "word/document.xml"), "a Word document"),
        (lambda _: archive("mimetype", "content.xml"), "an OpenDocument file"),
    ],
)
def test_a_damaged_workbook_is_one_fault_in_plain_words(spoilt: Callable[[bytes], bytes], words: str) -> None:
    [(_, _, message)] = faults_of(spoilt(workbook(("S", CLAIMS))))
    assert message.startswith("the file is not readable as Excel: it")
    assert words in message


def test_a_workbook_is_known_by_its_name_and_content_together() -> None:
    book = workbook(("S", CLAIMS))
    assert detect_format(Upload("a.xlsx", None), book).format is Format.XLSX
    with pytest.raises(UnsupportedFormat, match="zip archive"):
        detect_format(Upload("a.csv", None), book)
    assert detect_format(Upload("a.xlsx", None), b'{"claim": "a"}').format is Format.JSONL
