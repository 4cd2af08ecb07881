"""Encodes results as JSON lines."""

import orjson

from service.jobs.export.encoder import Encoder, Rows


class JsonlEncoder(Encoder):
    """Encodes one object per row, without the columns that the row lacks."""

    def encode(self, rows: Rows) -> bytes:
        """One line for each row."""
        return b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)


ENCODER = JsonlEncoder
