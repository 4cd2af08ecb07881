"""The limits of a data set's size, and the checks that refuse a larger one."""

from dataclasses import dataclass, replace

from service.errors import PayloadTooLarge
from service.values import by_number, counted

_FREE_BYTES = 10_000_000  # below this size the compression ratio does not matter


def _in_parts(limit: str) -> str:
    return f"; send the data set in parts, as several jobs, or ask the operator to raise ICM_UPLOAD__MAX_{limit}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The operator's limits; `max_bytes` bounds the uncompressed content of a gzip or Parquet file."""

    max_bytes: int
    max_rows: int
    max_row_bytes: int
    max_ratio: int = 200  # largest ratio of uncompressed content to file size
    max_parquet_memory_bytes: int = 512_000_000  # in addition to what the reader needs at its start
    note: str = ""  # the reason for `max_bytes`, if it is not the operator's value

    def for_file(self, size_bytes: int) -> "Limits":
        """The limits for a file of this size: a file with a ratio above `max_ratio` is a decompression bomb."""
        allowed = max(_FREE_BYTES, self.max_ratio * size_bytes)
        if allowed >= self.max_bytes:
            return self
        note = f", which is more than the {size_bytes} bytes that were sent can honestly hold"
        return replace(self, max_bytes=allowed, note=note)

    def check_bytes(self, count: int) -> None:
        """Check the number of uncompressed bytes so far. Raises PayloadTooLarge."""
        if count > self.max_bytes:
            advice = self.note or _in_parts("BYTES")
            raise PayloadTooLarge(f"the data set has more than {self.max_bytes} bytes unpacked{advice}")

    def check_rows(self, count: int, *, blank: int = 0) -> None:
        """Check the number of rows and blank lines so far, which cost equally much to read. Raises PayloadTooLarge."""
        if count + blank > self.max_rows:
            message = f"the data set has more than {counted(self.max_rows, 'row')}"
            if blank:
                message += f", {counted(blank, 'blank line')} among them; leave {by_number(blank, 'it', 'those')} out"
            raise PayloadTooLarge(message + _in_parts("ROWS"))
