"""Odd, broken and exploding Parquet files."""

import datetime as dt
import decimal
import gzip
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.hostile.case import Case, Files
from tests.hostile.jsonl_cases import CHARMS, INJECTION
from tests.hostile.jsonl_cases import PLAIN as JSONL

ROWS = [{"id": "1", "text": "first"}, {"id": "2", "text": "second"}]
BASE = {"id": ["1", "2"], "text": ["first", "second"]}


def written(table: pa.Table, **options: Any) -> bytes:
    """The table as a Parquet file."""
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def plain(**options: Any) -> bytes:
    """Two rows."""
    return written(pa.table(BASE), **options)


def more(column: pa.Array | list[Any], **options: Any) -> bytes:
    """Two rows with a third column."""
    return written(pa.table({**BASE, "more": column}), **options)


def not_text(*values: bytes) -> pa.Array:
    """Bytes in a column that is declared as text."""
    return pa.array(values, pa.binary()).view(pa.string())


def dictionary_bomb(text_bytes: int, rows: int) -> bytes:
    """One long text, written once and referred to by every row; no metadata shows how large that is."""
    text = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["x" * text_bytes]))
    table = pa.table({"id": pa.array(range(rows)), "text": text})
    return written(table, compression="zstd", dictionary_pagesize_limit=2**30, use_dictionary=["text"])


def page_bomb(text_bytes: int) -> bytes:
    """One text that fills a whole page."""
    return written(
        pa.table({"id": ["1"], "text": ["x" * text_bytes]}),
        compression="zstd",
        use_dictionary=False,
        write_statistics=False,
    )


def list_bomb(values: int) -> bytes:
    """One row with a list of zeros, which take hardly a byte."""
    zeros = pa.ListArray.from_arrays(pa.array([0, values], pa.int32()), pa.array(np.zeros(values, np.int8)))
    return written(pa.table({"id": ["1"], "text": ["t"], "more": zeros}), compression="zstd")


def nested(depth: int) -> pa.Array:
    """Two nulls in a column of deeply nested objects."""
    kind: pa.DataType = pa.int8()
    for _ in range(depth):
        kind = pa.struct({"a": kind})
    return pa.nulls(2, kind)


def flipped(place: float) -> Callable[[], bytes]:
    """Two rows, with a few wrong bytes at this place."""

    def content() -> bytes:
        made = bytearray(plain())
        start = int(len(made) * place)
        made[start : start + 8] = b"\xff" * 8
        return bytes(made)

    return content


def _healthy(files: Files) -> None:
    files.good("plain", plain(), ROWS)
    for codec in ("snappy", "zstd", "gzip", "brotli", "lz4"):
        files.good(f"compressed-by-{codec}", plain(compression=codec), ROWS)
    files.good("json-lines-under-this-name", JSONL, ROWS)
    files.good("packed", gzip.compress(plain()), ROWS)
    files.good("date", more([dt.date(2020, 1, 31)] * 2), [{**row, "more": "2020-01-31"} for row in ROWS])
    files.good("decimal", more([decimal.Decimal("0.10")] * 2), [{**row, "more": "0.10"} for row in ROWS])
    files.good("row-groups-of-one", plain(row_group_size=1), ROWS)
    values = [[1, None, 2**63 - 1], [-(2**63)]]
    files.good("lists", more(values), [{**row, "more": value} for row, value in zip(ROWS, values, strict=True)])
    for kind in (pa.float16(), pa.float32(), pa.int8(), pa.uint64()):
        files.good(
            f"{kind}",
            more(pa.array([1, 2], pa.int8()).cast(kind)),
            [{**row, "more": n} for row, n in zip(ROWS, (1, 2), strict=True)],
        )
    for kind in (pa.large_string(), pa.string_view()):
        files.good(f"{kind}", written(pa.table({"id": BASE["id"], "text": pa.array(BASE["text"], kind)})), ROWS)
    table = pa.table({"id": CHARMS, "text": CHARMS})
    files.good("charms-as-texts", written(table), [{"id": charm, "text": charm} for charm in CHARMS])
    named = pa.table({**BASE, **{charm: [1, 2] for charm in CHARMS}})
    dates = more([[dt.date(2020, 1, 1)], []])
    files.good(
        "dates-in-a-list", dates, [{**row, "more": days} for row, days in zip(ROWS, [["2020-01-01"], []], strict=True)]
    )
    files.good("charms-as-columns", written(named), named.to_pylist())
    files.good(
        "prompt-injection", written(pa.table({"id": ["1"], "text": [INJECTION]})), [{"id": "1", "text": INJECTION}]
    )


def _broken_files(files: Files) -> None:
    whole = plain()
    files.bad("empty", b"", "no rows")
    files.bad("no-rows", written(pa.table(BASE).slice(0, 0)), "no rows")
    files.bad("magic-alone", b"PAR1", "not readable")
    files.bad("encrypted", whole[:-4] + b"PARE", "not readable")
    files.bad("cut-at-the-end", whole[:-9], "not readable")
    files.bad("length-of-the-footer-a-lie", whole[:-8] + b"\xff\xff\xff\x7fPAR1", "not readable")
    files.bad("footer-of-zeros", b"PAR1" + b"\0" * 500 + (500).to_bytes(4, "little") + b"PAR1", "not readable")
    files.bad("bytes-wrong-in-a-page", flipped(0.05), "not readable")
    files.bad("bytes-wrong-in-the-footer", flipped(0.7), "")
    files.refused("packed-twice", gzip.compress(gzip.compress(whole)), 415, "twice")
    files.bad("packed-and-cut", gzip.compress(whole)[:-5], "gzip")


def _broken_values(files: Files) -> None:
    files.bad("nul", more(["x", "a\0b"]), "NUL", 2, "more")
    files.bad("not-utf-8", more(not_text(b"x", b"\xff")), "UTF-8", 2, "more")
    files.bad("surrogate-in-utf-8", more(not_text(b"\xed\xa0\x80", b"x")), "UTF-8", 1, "more")
    files.bad("nan", more([0.5, float("nan")]), "NaN", 2, "more")
    files.bad("infinity", more([float("-inf"), 0.5]), "NaN", 1, "more")
    files.bad("nan-in-a-list", more([[0.5], [float("nan")]]), "NaN", 2, "more")
    files.bad("integer-of-64-bits-unsigned", more(pa.array([1, 2**63], pa.uint64())), "64 bits", 2, "more")
    files.bad("duration", more([dt.timedelta(1)] * 2), "are not read", None, "more")
    files.bad("durations-in-a-list", more([[dt.timedelta(1)], []]), "are not read", None, "more")
    files.bad("bytes", more([b"x", b"y"]), "are not read", None, "more")
    files.bad("map", more(pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int8()))), "are not read", None, "more")
    files.bad("objects-70-deep", more(nested(70)), "are not read", None, "more")
    twice = pa.Table.from_arrays([pa.array(BASE["id"])] * 3, names=["id", "text", "text"])
    files.bad("column-twice", written(twice), "2 times", None, "text")
    files.bad("column-named-nul", written(pa.table({**BASE, "a\0b": [1, 2]})), "NUL", 1)
    files.bad("column-of-the-result", written(pa.table({**BASE, "icm_margin": [1, 2]})), "reserved", 1, "icm_margin")
    files.bad("column-missing", written(pa.table({"id": ["1"]})), "no row has the field", None, "text")
    files.bad("id-twice", written(pa.table({"id": ["1", "1"], "text": ["a", "b"]})), "used before", 2, "id")
    files.bad("null", written(pa.table({"id": ["1", "2"], "text": ["a", None]})), "null", 2, "text")
    wide = pa.table({**BASE, **{f"c{n}": [0, 0] for n in range(10_000)}})
    files.bad("10000-columns", lambda: written(wide, use_dictionary=False), "more than 1000")
    files.bad(
        "20-megabytes-of-text",
        lambda: written(pa.table({"id": ["1"], "text": ["x" * 20_000_000]}), compression="none"),
        "64000 bytes",
        1,
    )


def _bombs(files: Files) -> None:
    files.refused("dictionary-bomb-of-a-gigabyte", lambda: dictionary_bomb(1_000_000, 1_000), 413, "unpacked")
    files.refused("bomb-packed-in-gzip", lambda: gzip.compress(page_bomb(200_000_000)), 413, "memory")


def parquet_cases() -> list[Case]:
    """All cases."""
    files = Files("parquet", ".parquet")
    for add in (_healthy, _broken_files, _broken_values, _bombs):
        add(files)
    return files.cases
