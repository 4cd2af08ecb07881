"""Odd and broken CSV files."""

from tests.hostile.case import Case, Files
from tests.hostile.jsonl_cases import CHARMS, INJECTION

PLAIN = b"id,text\n1,first\n2,second\n"
ROWS = [{"id": "1", "text": "first"}, {"id": "2", "text": "second"}]


def quoted(*values: str) -> bytes:
    """One record with every cell in quotes."""
    return ",".join('"' + value.replace('"', '""') + '"' for value in values).encode() + b"\n"


def _healthy(files: Files) -> None:
    files.good("semicolons", PLAIN.replace(b",", b";"), ROWS)
    files.good("line-break-in-a-cell", b'id,text\n1,"a\r\nb\n\nc"\n', [{"id": "1", "text": "a\r\nb\n\nc"}])
    files.good("numbers-stay-text", b"id,text\n007,1e999\n", [{"id": "007", "text": "1e999"}])
    files.good("long-numbers-stay-text", b"id,text\n1,%s\n" % (b"7" * 5_000), [{"id": "1", "text": "7" * 5_000}])
    files.good("not-a-number-stays-text", b"id,text\n1,NaN\n", [{"id": "1", "text": "NaN"}])
    charmed = b"id,text\n" + b"".join(quoted(charm, charm) for charm in CHARMS)
    files.good("charms-as-texts", charmed, [{"id": charm, "text": charm} for charm in CHARMS])
    named = quoted("id", "text", *CHARMS) + quoted("1", "first", *CHARMS)
    files.good("charms-as-columns", named, [{**ROWS[0], **{charm: charm for charm in CHARMS}}])
    files.good("prompt-injection", b"id,text\n" + quoted("1", INJECTION), [{"id": "1", "text": INJECTION}])


def _broken_bytes(files: Files) -> None:
    files.bad("header-alone", b"id,text\n", "no rows")
    files.bad("not-utf-8-twice-in-the-header", b"\xff,\xff\n1,2\n", "UTF-8", 1)


def _broken_records(files: Files) -> None:
    files.bad("rows-of-commas-at-the-end", PLAIN + b",\n,\n", "blank", 4, "text")
    files.bad("quote-without-end-for-long", lambda: PLAIN + b'3,"' + b"x\n" * 500_000, "not read", 4)
    headless = "the first line has to name the columns, and here it reads like a row ('1', 'first')"
    files.bad("no-header", b"1,first\n2,second\n", headless, None, "text")
    wide = b"id,text," + b",".join(b"c%d" % n for n in range(10_000)) + b"\n1,a" + b"," * 10_000 + b"\n"
    files.bad("10000-columns", wide, "more than 1000 columns", 2)


def csv_cases() -> list[Case]:
    """All cases."""
    files = Files("csv", ".csv")
    for add in (_healthy, _broken_bytes, _broken_records):
        add(files)
    return files.cases
