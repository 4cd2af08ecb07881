"""Convert tables of other libraries, to the service and back; each library loads on first use."""

from collections import Counter
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from icm.data.rows import lines_of
from icm.errors import MissingLibrary, UnsendableData
from service.values import counted

_GROUP_ROWS = 10_000


def is_dataset(source: Any) -> bool:
    """Whether it is a `datasets.Dataset`, or has its saving method."""
    return hasattr(source, "to_parquet") and hasattr(source, "features")


def write_dataset(source: Any, file: IO[bytes]) -> None:
    """Write a `datasets.Dataset` as Parquet, with the features."""
    source.to_parquet(file)


def is_frame(source: Any) -> bool:
    """Whether it is a table of pyarrow, pandas, polars or another library with Arrow's interface."""
    return hasattr(source, "__arrow_c_stream__") or (hasattr(source, "to_dict") and hasattr(source, "columns"))


def write_frame(source: Any, file: IO[bytes]) -> str:
    """Write a table as Parquet, or as JSON lines if Arrow has no type for a column; return the format.

    Sends NaN, NaT and NA of a DataFrame as null. Raises UnsendableData.
    """
    arrow = _library("pyarrow")
    _refuse_twins(source)
    try:
        table = arrow.table(source)
    except (arrow.ArrowException, TypeError, ValueError, NotImplementedError, OverflowError) as error:
        file.writelines(lines_of(_records(source, error)))
        return "jsonl"
    _library("pyarrow.parquet").write_table(table, file, row_group_size=_GROUP_ROWS)
    return "parquet"


def _refuse_twins(source: Any) -> None:
    """Refuse two columns of one name. Raises UnsendableData."""
    names = Counter(map(str, getattr(source, "columns", ()))) if hasattr(source, "to_dict") else Counter[str]()
    for name, count in names.items():
        if count > 1:
            raise UnsendableData(
                f"the table has the column {name!r} {counted(count, 'time')}; rename or drop the others"
            )


def _records(source: Any, error: Exception) -> Iterable[Mapping[Any, Any]]:
    if not hasattr(source, "to_dict") or not hasattr(source, "columns"):
        kind = type(source).__name__
        if hasattr(source, "to_frame"):
            message = f"a data set cannot be one column alone, of type {kind}: name it, as in to_frame('text')"
            raise UnsendableData(message) from error
        raise UnsendableData(f"a value of type {kind} cannot be sent as a table: {error}") from error
    for record in source.to_dict("records"):
        yield {name: None if _is_missing(value) else value for name, value in record.items()}


def _is_missing(value: Any) -> bool:
    return type(value).__name__ in {"NaTType", "NAType"} or (isinstance(value, float) and value != value)  # noqa: PLR0124


def read_table(path: Path) -> Any:
    """Read a Parquet file as a `pyarrow.Table`."""
    return _library("pyarrow.parquet").read_table(path)


def read_frame(path: Path) -> Any:
    """Read a Parquet file as a `pandas.DataFrame`. Raises MissingLibrary."""
    _library("pandas")
    return read_table(path).to_pandas()


def read_dataset(path: Path) -> Any:
    """Read a Parquet file as a `datasets.Dataset`. Raises MissingLibrary."""
    return _library("datasets").Dataset(read_table(path))


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        package = name.partition(".")[0]
        if error.name != package:
            raise  # it is installed, and lacks a dependency
        raise MissingLibrary(f"{package} is not installed here; install it (pip install {package})") from error
