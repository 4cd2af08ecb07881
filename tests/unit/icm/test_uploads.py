import datetime as dt
import io
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from icm import MissingLibrary, UnsendableData
from icm.data.tables import read_dataset, read_frame
from icm.data.uploads import prepared
from tests.unit.icm.fake_service import FakeService


def sent(source: Any, **options: Any) -> tuple[str, bytes]:
    """The name and the content of what is sent to the service, as a second attempt sends it."""
    with prepared(source, **options) as upload:
        with upload.opened() as file:
            file.read()
        with upload.opened() as file:
            return upload.name, file.read()


class Frame:
    """A DataFrame as in pandas and polars, with the methods that sending one needs."""

    def __init__(self, columns: dict[str, list[Any]]) -> None:
        self._values = columns
        self.columns = list(columns)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return pa.table(self._values).__arrow_c_stream__(requested_schema)

    def to_dict(self, _orient: str) -> list[dict[str, Any]]:
        return [dict(zip(self.columns, row, strict=True)) for row in zip(*self._values.values(), strict=True)]


class Dataset:
    """A `datasets.Dataset`, with the methods that sending one needs."""

    def __init__(self, table: pa.Table) -> None:
        self._table, self.features = table, {"a": "Value"}

    def to_parquet(self, path_or_buf: Any) -> int:
        pq.write_table(self._table, path_or_buf)
        return 0


class NaTType:
    """What stands for a missing time in pandas."""

    def __str__(self) -> str:
        return "NaT"


def test_an_open_file_is_sent_from_where_it_stands_under_its_name(tmp_path: Path) -> None:
    path = tmp_path / "claims.csv"
    path.write_bytes(b"skip\nclaim\nsnow\n")
    with path.open("rb") as file:
        file.readline()
        assert sent(file) == ("claims.csv", b"claim\nsnow\n")


@pytest.mark.parametrize(
    ("file", "content"),
    [(io.StringIO("claim\nsn\xf6\n"), "claim\nsn\xf6\n".encode()), (io.BytesIO(b"{}\n"), b"{}\n"), (io.BytesIO(), b"")],
)
def test_files_without_a_name_get_none_so_that_the_service_looks_at_their_content(file: Any, content: bytes) -> None:
    assert sent(file) == ("dataset", content)
    file.seek(0)
    assert sent(file, filename="a.csv") == ("a.csv", content)


class Series:
    """One column, as pandas and polars have them."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> Any:
        return pa.chunked_array([["a", "b"]]).__arrow_c_stream__(requested_schema)

    def to_frame(self, name: str) -> None:
        """Make a table of the column."""


def test_one_column_alone_is_refused_with_what_makes_a_table_of_it() -> None:
    with pytest.raises(UnsendableData, match=r"one column alone, of type Series: name it, as in to_frame\('text'\)"):
        sent(Series())


def test_a_file_that_was_written_and_not_rewound_is_reported() -> None:
    file = io.BytesIO()
    file.write(b'{"claim": "a"}\n')
    with pytest.raises(UnsendableData, match=r"seek\(0\)"):
        sent(file)


@pytest.mark.parametrize("content", [bytearray(b"{}"), memoryview(b"{}")])
def test_bytes_may_be_of_any_kind(content: Any) -> None:
    assert sent(content) == ("dataset", b"{}")


TABLE = pa.table({"a": [1, None], "v": pa.array([[0.5], []], pa.list_(pa.float32()))})


@pytest.mark.parametrize(
    "source", [TABLE, TABLE.to_batches()[0], Dataset(TABLE), Frame({name: TABLE[name] for name in ("a", "v")})]
)
def test_tables_are_sent_as_parquet_with_their_types(source: Any) -> None:
    name, content = sent(source)
    found = pq.read_table(io.BytesIO(content))
    assert (name, found.schema, found.to_pylist()) == ("dataset.parquet", TABLE.schema, TABLE.to_pylist())


def test_a_frame_with_columns_of_several_types_is_sent_row_by_row_with_null_for_what_is_missing() -> None:
    frame = Frame({"m": [1, "x", NaTType()], "f": [0.5, float("nan"), 2.0]})
    lines = b'{"m": 1, "f": 0.5}\n{"m": "x", "f": null}\n{"m": null, "f": 2.0}\n'
    assert sent(frame) == ("dataset.jsonl", lines)


def test_a_frame_with_two_columns_of_one_name_is_refused_and_loses_none() -> None:
    frame = Frame({"a": [1, "x"]})
    frame.columns = ["a", "b", "a"]
    with pytest.raises(UnsendableData, match="the column 'a' 2 times"):
        sent(frame)


def test_numbers_and_arrays_of_numpy_are_sent_as_pythons() -> None:
    row = {"i": np.int64(3), "f": np.float32(1.5), "l": np.array([1, 2]), "b": np.bool_(True)}
    assert sent([row])[1] == b'{"i": 3, "f": 1.5, "l": [1, 2], "b": true}\n'


UNSENDABLE = [
    (float("nan"), "NaN", "use None"),
    (float("inf"), "infinity", "use None"),
    ([1, {"deep": float("nan")}], "NaN", "use None"),
    (np.float64("nan"), "NaN", "use None"),
    (np.array([1.0, float("nan")]), "ndarray", "use None"),
    (NaTType(), "NaT", "use None"),
    (dt.date(2020, 1, 1), "date", "isoformat"),
    (b"x", "bytes", "convert it to text"),
    ({1, 2}, "set", "convert it to text"),
    ("\ud800", "surrogate", "repair"),
]


@pytest.mark.parametrize(("value", "what", "remedy"), UNSENDABLE)
def test_a_value_that_cannot_be_sent_is_reported_with_row_column_and_remedy(value: Any, what: str, remedy: str) -> None:
    with pytest.raises(UnsendableData) as caught:
        sent([{"claim": "a", "x": 1}, {"claim": "b", "x": value}])
    told = str(caught.value)
    assert told.startswith("row 2, column 'x': ")
    assert what in told
    assert remedy in told


def test_all_rows_at_fault_are_reported_once_for_each_cause() -> None:
    rows: list[Any] = [{"a": 1.0, "b": "x"}, {"a": float("nan"), "b": float("inf")}]
    rows += [{"a": float("nan"), "b": "x"}] * 4 + ["no row", 5, {"a": 2.0, "b": b"x"}]
    with pytest.raises(UnsendableData) as caught:
        sent(iter(rows))
    nan, infinity, text, number, binary = str(caught.value).split("; ")[::2]
    assert nan == "rows 2, 3, 4 and 2 more, column 'a': NaN is no value that can be labelled"
    assert infinity == "row 2, column 'b': infinity is no value that can be labelled"
    assert (text, number) == ("row 7 is of type str", "row 8 is of type int")
    assert binary == "row 9, column 'b': JSON has no form for values of type bytes"


def test_a_name_of_a_column_that_json_cannot_hold_is_reported_with_its_row() -> None:
    with pytest.raises(UnsendableData, match=r"^row 2 is not a row: .*tuple"):
        sent([{"a": 1}, {("a", "b"): 1}])


def test_a_value_that_contains_itself_is_reported_with_row_and_column() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(UnsendableData, match="row 1, column 'x'"):
        sent([{"x": value}])


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (["a claim"], "row 1 is of type str; give a dict"),
        ({"claim": ["a"]}, "of type dict: give a file, one table, or a list of rows"),
        (None, "of type NoneType"),
        (SimpleNamespace(), "of type SimpleNamespace"),
        (pa.array([1, 2]), "rows 1, 2 are of type"),
    ],
)
def test_an_object_that_is_no_data_set_is_refused_with_the_accepted_types(source: Any, words: str) -> None:
    with pytest.raises(UnsendableData, match=words):
        sent(source)


def parquet_answer(request: Any) -> Any:
    sink = io.BytesIO()
    pq.write_table(TABLE, sink)
    return httpx.Response(200, content=sink.getvalue())


def test_a_result_can_be_had_as_a_table() -> None:
    service = FakeService(parquet_answer)
    with service.client() as client:
        assert client.result_table("job_1", partial=True).equals(TABLE)
    assert dict(service.requests[0].url.params) == {"format": "parquet", "partial": "true"}


def test_a_result_can_be_had_as_a_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(TABLE, tmp_path / "r.parquet")
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(Dataset=Dataset))
    assert read_dataset(tmp_path / "r.parquet")._table.equals(TABLE)


@pytest.mark.parametrize(("read", "library"), [(read_frame, "pandas"), (read_dataset, "datasets")])
def test_a_library_that_is_not_installed_is_named(read: Any, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr("icm.data.tables.import_module", absent)
    with pytest.raises(MissingLibrary, match=f"pip install {library}"):
        read(Path("r.parquet"))
