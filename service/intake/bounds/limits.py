"""How much of an upload is read."""

from dataclasses import dataclass, replace

from service.errors import PayloadTooLarge

_FREE_BYTES = 10_000_000  # up to here it does not matter how well a file was packed


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the operator allows; `max_bytes` counts what comes out of a gzip or a Parquet file."""

    max_bytes: int
    max_rows: int
    max_row_bytes: int
    max_ratio: int = 200  # how many times longer than the file its content may be
    max_parquet_memory_bytes: int = 512_000_000  # beside what the reader needs to start
    note: str = ""  # why `max_bytes` is what it is, where the operator did not say so

    def for_file(self, size_bytes: int) -> "Limits":
        """The limits of a file of this size: what unpacks to hundreds of times its size is a bomb, not a data set."""
        allowed = max(_FREE_BYTES, self.max_ratio * size_bytes)
        if allowed >= self.max_bytes:
            return self
        note = f", which is more than the {size_bytes} bytes that were sent can honestly hold"
        return replace(self, max_bytes=allowed, note=note)

    def check_bytes(self, count: int) -> None:
        """Raises PayloadTooLarge."""
        if count > self.max_bytes:
            raise PayloadTooLarge(f"the data set has more than {self.max_bytes} bytes unpacked{self.note}")

    def check_rows(self, count: int, *, blank: int = 0) -> None:
        """A blank line costs as much to read as a row and counts as one. Raises PayloadTooLarge."""
        if count + blank > self.max_rows:
            blanks = f", {blank} blank lines among them; leave those out" if blank else ""
            raise PayloadTooLarge(f"the data set has more than {self.max_rows} rows{blanks}")
