"""Odd, broken and exploding Parquet files."""

import datetime as dt
import gzip
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.hostile.case import Case, Files
from tests.hostile.jsonl_cases import CHARMS

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
    for codec in ("zstd", "lz4"):
        files.good(f"compressed-by-{codec}", plain(compression=codec), ROWS)
    files.good("row-groups-of-one", plain(row_group_size=1), ROWS)
    values = [[1, None, 2**63 - 1], [-(2**63)]]
    files.good("lists", more(values), [{**row, "more": value} for row, value in zip(ROWS, values, strict=True)])
    for kind in (pa.float16(), pa.uint64()):
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


def _broken_files(files: Files) -> None:
    whole = plain()
    files.bad("empty", b"", "no rows")
    files.bad("no-rows", written(pa.table(BASE).slice(0, 0)), "no rows")
    files.bad("length-of-the-footer-a-lie", whole[:-8] + b"\xff\xff\xff\x7fPAR1", "not readable")
    files.bad("bytes-wrong-in-a-page", flipped(0.05), "not readable")
    files.bad("bytes-wrong-in-the-footer", flipped(0.7), "")


def _broken_values(files: Files) -> None:
    files.bad("not-utf-8", more(not_text(b"x", b"\xff")), "UTF-8", 2, "more")
    files.bad("nan", more([0.5, float("nan")]), "NaN", 2, "more")
    files.bad("duration", more([dt.timedelta(1)] * 2), "are not read", None, "more")
    files.bad("map", more(pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int8()))), "are not read", None, "more")
    files.bad("objects-70-deep", more(nested(70)), "are not read", None, "more")
    twice = pa.Table.from_arrays([pa.array(BASE["id"])] * 3, names=["id", "text", "text"])
    files.bad("column-twice", written(twice), "2 times", None, "text")
    files.bad("column-named-nul", written(pa.table({**BASE, "a\0b": [1, 2]})), "NUL", 1)
    wide = pa.table({**BASE, **{f"c{n}": [0, 0] for n in range(10_000)}})
    files.bad("10000-columns", lambda: written(wide, use_dictionary=False), "more than 1000")


def _bombs(files: Files) -> None:
    files.refused("bomb-packed-in-gzip", lambda: gzip.compress(page_bomb(150_000_000)), 413, "memory")


def parquet_cases() -> list[Case]:
    """All cases."""
    files = Files("parquet", ".parquet")
    for add in (_healthy, _broken_files, _broken_values, _bombs):
        add(files)
    return files.cases
