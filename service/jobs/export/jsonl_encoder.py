"""Results as JSON lines."""

import orjson

from service.jobs.export.encoder import Encoder, Rows


class JsonlEncoder(Encoder):
    """One object a row; columns that a row does not have are left out."""

    def encode(self, rows: Rows) -> bytes:
        """A line for each row."""
        return b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)


ENCODER = JsonlEncoder
