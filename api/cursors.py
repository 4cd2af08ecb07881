"""Opaque paging cursors, which only this service can read, and only for their own list."""

import hashlib
from typing import Any

from itsdangerous import BadData, URLSafeSerializer

from service.errors import InvalidCursor


class CursorSigner:
    """Sign cursors with a key that all API processes of an installation share."""

    def __init__(self, secret: str) -> None:
        self._secret = f"icm cursor{secret}"

    def sign(self, scope: str, values: tuple[Any, ...]) -> str:
        """Return a cursor that holds these values and is valid for this list only."""
        signed = self._serializer(scope).dumps(values)
        return signed if isinstance(signed, str) else signed.decode()

    def read(self, scope: str, cursor: str | None) -> tuple[Any, ...] | None:
        """Return the values in a cursor, if there is one. Raises InvalidCursor if it is none of this list."""
        if cursor is None:
            return None
        try:
            return tuple(self._serializer(scope).loads(cursor))
        except (BadData, UnicodeError) as error:
            raise InvalidCursor("the cursor was not handed out by this service for this list") from error

    def _serializer(self, scope: str) -> URLSafeSerializer:
        """The list's name is the salt, so that its signatures hold for no other list."""
        signer = {"digest_method": hashlib.sha256, "key_derivation": "hmac"}
        return URLSafeSerializer(self._secret, salt=scope, signer_kwargs=signer)
