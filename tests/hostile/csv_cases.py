"""Odd and broken CSV files."""

import gzip

from tests.hostile.case import Case, Files
from tests.hostile.jsonl_cases import BOM, CHARMS, INJECTION

PLAIN = b"id,text\n1,first\n2,second\n"
ROWS = [{"id": "1", "text": "first"}, {"id": "2", "text": "second"}]


def quoted(*values: str) -> bytes:
    """One record with every cell in quotes."""
    return ",".join('"' + value.replace('"', '""') + '"' for value in values).encode() + b"\n"


def _healthy(files: Files) -> None:
    files.good("byte-order-mark", BOM + PLAIN, ROWS)
    files.good("byte-order-mark-and-quotes", BOM + b'"id","text"\n"1","first"\n', ROWS[:1])
    files.good("windows-line-ends", PLAIN.replace(b"\n", b"\r\n"), ROWS)
    files.good("no-line-end-at-the-end", PLAIN.rstrip(b"\n"), ROWS)
    files.good("utf-16", PLAIN.decode().encode("utf-16"), ROWS)
    files.good("old-mac-line-ends", PLAIN.replace(b"\n", b"\r"), ROWS)
    files.good("semicolons", PLAIN.replace(b",", b";"), ROWS)
    files.good("tabs", PLAIN.replace(b",", b"\t"), ROWS)
    files.good("separator-named", b"sep=;\r\n" + PLAIN.replace(b",", b";"), ROWS)
    files.good("column-without-a-name", b"id,text,\n1,a,b\n", [{"id": "1", "text": "a", "unnamed_3": "b"}])
    files.good("json-lines-under-this-name", b'{"id": "1", "text": "first"}\n', ROWS[:1])
    files.good("blank-lines", PLAIN.replace(b"\n", b"\n\n"), ROWS)
    files.good("packed", gzip.compress(PLAIN), ROWS)
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
    files.bad("empty", b"", "no rows")
    files.bad("header-alone", b"id,text\n", "no rows")
    files.bad("blank", b"\n\n\n", "no rows")
    files.bad("utf-16-unmarked", PLAIN.decode().encode("utf-16-le"), "UTF-16", 1)
    files.bad("latin-1", "id,text\n1,caf\xe9\n".encode("latin-1"), "UTF-8", 2, "text")
    files.bad("latin-1-in-the-header", "id,caf\xe9\n1,x\n".encode("latin-1"), "UTF-8", 1)
    files.bad("not-utf-8-twice-in-the-header", b"\xff,\xff\n1,2\n", "UTF-8", 1)
    files.bad("surrogate-in-utf-8", b"id,text\n1,\xed\xa0\x80\n", "UTF-8", 2, "text")
    files.bad("nul", b"id,text\n1,a\0b\n", "NUL", 2, "text")
    files.bad("nul-in-the-header", b"id,text\0\n1,a\n", "NUL", 1)
    files.bad("packed-and-cut", gzip.compress(PLAIN)[:-5], "gzip")
    files.refused("gzip-bomb", lambda: gzip.compress(PLAIN + (b"3," + b"x" * 10_000 + b"\n") * 2_000), 413, "unpacked")


def _broken_records(files: Files) -> None:
    files.bad("rows-of-commas-at-the-end", PLAIN + b",\n,\n", "blank", 4, "text")
    files.bad("quote-without-end", PLAIN + b'3,"open\n4,x\n', "not read", 4)
    files.bad("quote-without-end-for-long", lambda: PLAIN + b'3,"' + b"x\n" * 500_000, "not read", 4)
    files.bad("text-behind-a-quote", PLAIN + b'3,"a"b\n', "not read", 4)
    files.bad("cell-missing", PLAIN + b"3\n", "1 cell,", 4)
    files.bad("cell-too-many", PLAIN + b"3,a,b\n", "3 cells", 4)
    headless = "the first line has to name the columns, and here it reads like a row ('1', 'first')"
    files.bad("no-header", b"1,first\n2,second\n", headless, None, "text")
    files.bad("column-twice", b"id,text,text\n1,a,b\n", "2 times", 1, "text")
    files.bad("column-of-the-result", b"id,text,icm_status\n1,a,b\n", "reserved", 2, "icm_status")
    files.bad("id-twice", PLAIN + b"1,x\n", "used before, on line 2", 4, "id")
    files.bad("id-empty", PLAIN + b",x\n", "id is missing", 4, "id")
    wide = b"id,text," + b",".join(b"c%d" % n for n in range(10_000)) + b"\n1,a" + b"," * 10_000 + b"\n"
    files.bad("10000-columns", wide, "more than 1000 columns", 2)
    files.bad("long-cell", PLAIN + b"3," + b"x" * 64_001 + b"\n", "more than 64000 bytes", 4)
    files.bad("20-megabytes-of-text", lambda: PLAIN + b"3," + b"x" * 20_000_000 + b"\n", "not read", 4)


def csv_cases() -> list[Case]:
    """All cases."""
    files = Files("csv", ".csv")
    for add in (_healthy, _broken_bytes, _broken_records):
        add(files)
    return files.cases
