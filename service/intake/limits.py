"""How much of an upload is read."""

from dataclasses import dataclass

from service.errors import PayloadTooLarge


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the operator allows; `max_bytes` counts what comes out of a gzip."""

    max_bytes: int
    max_rows: int
    max_row_bytes: int

    def check_bytes(self, count: int) -> None:
        """Raises PayloadTooLarge."""
        if count > self.max_bytes:
            raise PayloadTooLarge(f"the data set has more than {self.max_bytes} bytes unpacked")

    def check_rows(self, count: int) -> None:
        """Raises PayloadTooLarge."""
        if count > self.max_rows:
            raise PayloadTooLarge(f"the data set has more than {self.max_rows} rows")
