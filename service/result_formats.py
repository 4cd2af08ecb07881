"""The columns of a result, and its formats: for the client by a file's ending, for the API by media type."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Self

RESULT_COLUMNS = ("icm_label", "icm_confidence", "icm_margin", "icm_status")  # which follow those of the data set


class ResultFormat(StrEnum):
    """The formats of a result."""

    media_type: str

    def __new__(cls, name: str, media_type: str) -> Self:
        """A format by its name, which is its files' ending, too."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.media_type = media_type
        return member

    JSONL = "jsonl", "application/jsonl"
    CSV = "csv", "text/csv; charset=utf-8; header=present"
    PARQUET = "parquet", "application/vnd.apache.parquet"

    @property
    def suffix(self) -> str:
        """The ending of a file's name, with its dot."""
        return f".{self.value}"

    @property
    def for_spreadsheets(self) -> bool:
        """Whether people open it in spreadsheets, which run text as formulas."""
        return self.media_type.startswith("text/")


def in_words(words: Iterable[str]) -> str:
    """Such as `.jsonl, .csv or .parquet`."""
    return " or ".join(", ".join(words).rsplit(", ", 1))


ENDINGS = in_words(form.suffix for form in ResultFormat)
