"""Opaque paging cursors: readable only here, and useless for another list than their own."""

import base64
import binascii
import hashlib
import hmac
from typing import Any

import orjson

from service.errors import InvalidCursor

_MAC_BYTES = 16


class CursorSigner:
    """Signs cursors with a key that all API processes of an installation share."""

    def __init__(self, secret: str) -> None:
        self._key = hashlib.sha256(b"icm cursor" + secret.encode()).digest()

    def sign(self, scope: str, values: tuple[Any, ...]) -> str:
        """A cursor that holds these values and is good for this list only."""
        payload = orjson.dumps(values)
        return base64.urlsafe_b64encode(self._mac(scope, payload) + payload).decode().rstrip("=")

    def read(self, scope: str, cursor: str) -> list[Any]:
        """The values in a cursor. Raises InvalidCursor for all that was not signed here for this list."""
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as error:
            raise InvalidCursor("the cursor was not handed out by this service") from error
        mac, payload = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(scope, payload)):
            raise InvalidCursor("the cursor was not handed out by this service for this list")
        values: list[Any] = orjson.loads(payload)
        return values

    def _mac(self, scope: str, payload: bytes) -> bytes:
        return hmac.new(self._key, scope.encode() + b"\0" + payload, hashlib.sha256).digest()[:_MAC_BYTES]
