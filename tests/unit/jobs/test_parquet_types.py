"""Parquet in, Parquet out: the columns have the types that they had, and the values too."""

import io
import json
import os
import tempfile
from base64 import b64decode
from typing import Any

import hypothesis.strategies as st
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, given, settings

from service.intake.bounds.limits import Limits
from service.intake.unpacked.arrow_schema import KeptTypes
from service.intake.unpacked.process import unpack
from service.jobs.export.parquet_encoder import ParquetEncoder
from service.result_formats import RESULT_COLUMNS
from tests.long import LONG

LIMITS = Limits(max_bytes=10_000_000, max_rows=1_000, max_row_bytes=1_000_000)
FOUND = {"icm_label": "True", "icm_confidence": 0.75, "icm_margin": 1.1, "icm_status": "labeled"}


def packed(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def read(content: bytes) -> tuple[list[dict[str, Any]], bytes]:
    """The rows as they are stored, and the types that are kept beside them."""
    with tempfile.TemporaryFile() as lines:
        outcome = unpack(io.BytesIO(content), os.dup(lines.fileno()), LIMITS)
        assert outcome.faults == ()
        lines.seek(0)
        assert outcome.arrow_schema is not None
        return [orjson.loads(line) for line in lines], b64decode(outcome.arrow_schema)


def written(rows: list[dict[str, Any]], columns: list[str], schema: bytes | None, *, group: int = 2) -> pa.Table:
    """The result's file, read again."""
    encoder = ParquetEncoder(columns, RESULT_COLUMNS, arrow_schema=schema)
    groups = [[{**row, **FOUND} for row in rows[at : at + group]] for at in range(0, len(rows), group)]
    for part in groups:
        encoder.look_at(part)
    content = [encoder.header(), *map(encoder.encode, groups), encoder.footer()]
    return pq.read_table(io.BytesIO(b"".join(content)))


def there_and_back(table: pa.Table) -> pa.Table:
    rows, schema = read(packed(table))
    return written(rows, table.column_names, schema)


TYPES = {
    "float": pa.float32(),
    "half": pa.float16(),
    "byte": pa.int8(),
    "unsigned": pa.uint16(),
    "text": pa.large_string(),
    "view": pa.string_view(),
    "day": pa.date32(),
    "second": pa.timestamp("s"),
    "nano": pa.timestamp("ns"),
    "zoned": pa.timestamp("us", "Europe/Berlin"),
    "clock": pa.time64("us"),
    "short_clock": pa.time32("ms"),
    "price": pa.decimal128(12, 3),
    "list": pa.list_(pa.float32()),
    "lists": pa.list_(pa.list_(pa.int16())),
    "vector": pa.list_(pa.float32(), 2),
    "days": pa.list_(pa.date32()),
    "clocks": pa.large_list(pa.time64("ns")),
    "prices": pa.list_(pa.decimal128(5, 1), 2),
    "struct": pa.struct([("a", pa.int32()), ("b", pa.list_(pa.string())), ("c", pa.decimal128(5, 1))]),
    "structs": pa.list_(pa.struct([("at", pa.timestamp("ms")), ("n", pa.float32())])),
    "category": pa.dictionary(pa.int8(), pa.string()),
    "nothing": pa.null(),
}
MOMENTS = st.integers(-(2**40), 2**40)
PRICES = st.decimals(-99, 99, places=1)
PLAIN = {
    "float": st.floats(width=32, allow_nan=False, allow_infinity=False),
    "half": st.floats(width=16, allow_nan=False, allow_infinity=False),
    "byte": st.integers(-128, 127),
    "unsigned": st.integers(0, 2**16 - 1),
    "text": st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=9),
    "view": st.text("abc é", max_size=20),
    "day": st.dates(),
    "second": st.datetimes().map(lambda at: at.replace(microsecond=0)),
    "nano": st.integers(-(2**62), 2**62),
    "zoned": st.integers(-(2**50), 2**50),
    "clock": st.times(),
    "short_clock": st.times().map(lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000)),
    "price": st.decimals(-(10**8), 10**8, places=3),
    "list": st.lists(st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=3),
    "lists": st.lists(st.none() | st.lists(st.integers(-9, 9), max_size=2), max_size=2),
    "vector": st.lists(st.integers(-9, 9), min_size=2, max_size=2),
    "days": st.lists(st.none() | st.dates(), max_size=2),
    "clocks": st.lists(st.integers(0, 10**9), max_size=2),
    "prices": st.lists(st.none() | PRICES, min_size=2, max_size=2),
    "struct": st.fixed_dictionaries(
        {
            "a": st.none() | st.integers(-9, 9),
            "b": st.lists(st.text("xy", max_size=2), max_size=2),
            "c": st.none() | PRICES,
        }
    ),
    "structs": st.lists(st.fixed_dictionaries({"at": st.none() | MOMENTS, "n": st.integers(-9, 9)}), max_size=2),
    "category": st.sampled_from(["low", "high"]),
    "nothing": st.none(),
}


@given(st.integers(1, 5), st.data())
@settings(max_examples=100 if LONG else 5, phases=(Phase.reuse, Phase.generate))  # shrinking would take minutes
def test_types_come_back_with_all_values_nulls_and_empty_lists_among_them(rows: int, data: st.DataObject) -> None:
    values = {name: data.draw(st.lists(st.none() | PLAIN[name], min_size=rows, max_size=rows)) for name in TYPES}
    given_types = pa.table({name: pa.array(values[name], kind) for name, kind in TYPES.items()})
    sent = pq.read_table(io.BytesIO(packed(given_types)))
    found = there_and_back(sent)
    assert found.column_names == [*TYPES, *FOUND]
    for name in TYPES:
        assert found.schema.field(name).type == sent.schema.field(name).type, name
        plain = pa.string() if name == "category" else sent[name].type
        assert found[name].cast(plain).equals(sent[name].cast(plain)), name


def test_a_column_of_nulls_keeps_its_type() -> None:
    table = pa.table({"a": pa.array([None, None], pa.list_(pa.float32()))})
    assert there_and_back(table).schema.field("a").type == pa.list_(pa.float32())


def test_categories_keep_their_order_and_the_ones_that_no_row_has() -> None:
    categories = pa.array(["low", "middle", "high", "never"])
    sent = pa.DictionaryArray.from_arrays(pa.array([2, 0, None, 2], pa.int8()), categories, ordered=True)
    found = there_and_back(pa.table({"a": sent}))["a"]
    assert found.type == sent.type
    assert found.to_pylist() == ["high", "low", None, "high"]
    assert [chunk.dictionary.to_pylist() for chunk in found.chunks] == [categories.to_pylist()] * found.num_chunks


def test_categories_of_row_groups_are_put_together() -> None:
    kind = pa.dictionary(pa.int32(), pa.string())
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, pa.schema({"a": kind})) as writer:
        for values in (["x", "y"], ["z", "x"]):
            writer.write_table(pa.table({"a": pa.array(values, kind)}))
    rows, schema = read(sink.getvalue())
    assert written(rows, ["a"], schema)["a"].to_pylist() == ["x", "y", "z", "x"]


def test_class_labels_are_known_again_with_the_results_own_columns_beside_them() -> None:
    features = {"label": {"names": ["no", "yes"], "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}}), "mine": "kept"}
    sent = pa.table({"label": pa.array([0, 1])}).replace_schema_metadata(metadata)
    found = there_and_back(sent).schema.metadata
    told = json.loads(found[b"huggingface"])["info"]["features"]
    assert told["label"] == features["label"]
    assert told["icm_label"] == {"dtype": "string", "_type": "Value"}
    assert told["icm_confidence"] == {"dtype": "float64", "_type": "Value"}
    assert found[b"mine"] == b"kept"


@pytest.mark.parametrize("broken", ["{", "[]", '{"info": null}', '{"info": {"features": []}}'])
def test_metadata_that_nobody_can_read_is_returned_unchanged(broken: str) -> None:
    sent = pa.table({"a": [1]}).replace_schema_metadata({"huggingface": broken})
    assert there_and_back(sent).schema.metadata[b"huggingface"] == broken.encode()


def test_a_value_that_does_not_fit_makes_its_column_what_it_would_be_without_a_file() -> None:
    _, schema = read(packed(pa.table({"a": pa.array([1], pa.int8()), "b": pa.array([1], pa.int8())})))
    found = written([{"a": 1, "b": 1}, {"a": 1000, "b": 2}, {"a": None, "b": 3}], ["a", "b"], schema, group=1)
    assert [found.schema.field(name).type for name in "ab"] == [pa.int64(), pa.int8()]
    assert found["a"].to_pylist() == [1, 1000, None]


def test_metadata_stays_away_from_a_result_that_has_other_columns() -> None:
    sent = pa.table({"a": [1], "b": [2]}).replace_schema_metadata({"huggingface": "{}"})
    rows, schema = read(packed(sent))
    assert written([{"a": row["a"]} for row in rows], ["a"], schema).schema.metadata is None


def test_long_categories_and_then_long_metadata_are_not_kept() -> None:
    kind = pa.dictionary(pa.int32(), pa.string())
    values = pa.array([f"{number} {'x' * 900}" for number in range(900)], kind)
    batch = pa.record_batch({"a": values}).replace_schema_metadata({"note": "y" * 600_000})
    types = KeptTypes(batch.schema)
    types.look_at(batch)
    packed_types = types.packed()
    assert packed_types is not None
    kept = pa.ipc.open_stream(packed_types).read_all()
    assert (kept.schema.field("a").type, kept.schema.metadata) == (kind, None)
    assert len(kept["a"].chunk(0).dictionary) == 0


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (pa.list_(pa.int8(), 8_193), pa.list_(pa.int8())),
        (
            pa.struct([("a", pa.list_(pa.list_(pa.int8(), 100), 100))]),
            pa.struct([("a", pa.list_(pa.list_(pa.int8())))]),
        ),
        (pa.list_(pa.list_(pa.int8(), 2)), pa.list_(pa.list_(pa.int8()))),
        (pa.large_list(pa.list_(pa.int8(), 2)), pa.large_list(pa.list_(pa.int8()))),
        (pa.list_(pa.list_(pa.int8(), 100), 80), pa.list_(pa.list_(pa.int8(), 100), 80)),
    ],
)
def test_nulls_of_lists_of_a_fixed_size_cannot_fill_the_memory(sent: pa.DataType, kept: pa.DataType) -> None:
    packed_types = KeptTypes(pa.schema({"a": sent})).packed()
    assert packed_types is not None
    assert pa.ipc.open_stream(packed_types).schema.field("a").type == kept
