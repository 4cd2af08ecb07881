import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from service.jobs.export.parquet_encoder import ParquetEncoder

FOUND = {"icm_label": "True", "icm_confidence": 0.75, "icm_margin": 1.1, "icm_status": "labeled"}


def written(groups: list[list[dict[str, Any]]], columns: list[str]) -> pa.Table:
    encoder = ParquetEncoder(columns, tuple(FOUND))
    for group in groups:
        encoder.look_at(group)
    content = b"".join([encoder.header(), *(encoder.encode(group) for group in groups), encoder.footer()])
    return pq.read_table(io.BytesIO(content))


@pytest.mark.parametrize(
    ("values", "kept", "kind"),
    [
        ([1, None, 2**62], [1, None, 2**62], pa.int64()),
        ([1, 2.5], [1.0, 2.5], pa.float64()),
        ([True, False], [True, False], pa.bool_()),
        (["x", None], ["x", None], pa.string()),
        ([None, None], [None, None], pa.string()),
        ([2**53 + 1, 0.5], ["9007199254740993", "0.5"], pa.string()),
        ([1, "x"], ["1", "x"], pa.string()),
        ([1, True], ["1", "true"], pa.string()),
        ([{"a": [1]}, [2]], ['{"a":[1]}', "[2]"], pa.string()),
    ],
)
def test_a_column_gets_a_type_in_which_no_value_changes(values: list[Any], kept: list[Any], kind: pa.DataType) -> None:
    table = written([[{"a": value, **FOUND}] for value in values], ["a"])
    assert table.schema.field("a").type == kind
    assert table["a"].to_pylist() == kept


def test_columns_stand_in_the_users_order_with_what_was_found_behind() -> None:
    table = written([[{"b": 1, "a": 2, **FOUND}], [{"b": 3, **FOUND}]], ["b", "a"])
    assert table.column_names == ["b", "a", *FOUND]
    assert table["a"].to_pylist() == [2, None]
    assert table["icm_confidence"].to_pylist() == [0.75, 0.75]


def test_each_batch_is_a_row_group_and_is_handed_out_at_once() -> None:
    rows = [{"a": "x" * 100, **FOUND}] * 50
    encoder = ParquetEncoder(["a"], tuple(FOUND))
    encoder.look_at(rows)
    parts = [encoder.header(), encoder.encode(rows), encoder.encode(rows), encoder.footer()]
    assert all(parts[1:])
    assert pq.ParquetFile(io.BytesIO(b"".join(parts))).num_row_groups == 2
