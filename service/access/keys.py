"""Creates and checks API keys: `icm_<public id>_<secret and checksum>`, in lower-case letters and the digits 2 to 7.

The public id finds the key in the database and may be shown anywhere. The secret has 256 random bits. So
the database can store its plain SHA-256: slow password hashes are a protection against guessing, and nobody
can guess 256 bits. The checksum detects a mistyped or truncated key without a query.
"""

import base64
import hashlib
import hmac
import re
import secrets
import zlib
from dataclasses import dataclass

from service.errors import NotAuthenticated
from service.identifiers import KeyId

SECRET_BYTES = 32
_ID_LENGTH = 12  # 60 bits
_SECRET_LENGTH = 52  # 256 bits at 5 a letter
_CHECKSUM_LENGTH = 7  # 32 bits at 5 a letter
_LETTER = "[a-z2-7]"
_FORM = re.compile(rf"icm_({_LETTER}{{{_ID_LENGTH}}})_({_LETTER}{{{_SECRET_LENGTH + _CHECKSUM_LENGTH}}})")
# Also matches truncated keys and keys with a suffix, since they contain most of their secret.
_SHOWN = re.compile(rf"(icm_{_LETTER}{{{_ID_LENGTH}}}_)[A-Za-z0-9]+", re.IGNORECASE)
# The secret of a webhook, in either alphabet of base64.
_WEBHOOK_SECRET = re.compile(r"(whsec_)[A-Za-z0-9+/=_-]+")
_KEY_ID = re.compile(rf"{_LETTER}{{{_ID_LENGTH}}}")


@dataclass(frozen=True, slots=True)
class Key:
    """A whole key, secret included. Neither `str` nor `repr` shows the secret."""

    id: KeyId
    text: str

    def __repr__(self) -> str:
        return f"Key(icm_{self.id}_...)"

    __str__ = __repr__

    @property
    def sha256(self) -> bytes:
        """The hash that the database stores instead of the key."""
        return hashlib.sha256(self.text.encode()).digest()

    def matches(self, sha256: bytes) -> bool:
        """Whether this key has the stored hash; compares in constant time."""
        return hmac.compare_digest(self.sha256, sha256)


def new_key() -> Key:
    """Create a key from the system's source of randomness."""
    return key_of(_letters(secrets.token_bytes(8))[:_ID_LENGTH], secrets.token_bytes(SECRET_BYTES))


def key_of(key_id: str, secret: bytes) -> Key:
    """The key with this id and these 32 secret bytes."""
    body = f"icm_{key_id}_{_letters(secret)}"
    return Key(KeyId(key_id), body + _checksum(body))


def read_key(text: str) -> Key:
    """Parse a key. Raises NotAuthenticated if the text cannot be one; the error never contains the text."""
    found = _FORM.fullmatch(text)
    if found is None or _checksum(text[:-_CHECKSUM_LENGTH]) != text[-_CHECKSUM_LENGTH:]:
        raise NotAuthenticated("the API key is mistyped or cut short", key_was_sent=True)
    return Key(KeyId(found[1]), text)


def is_key_id(text: str) -> bool:
    """Whether the text has the form of a key's public id."""
    return _KEY_ID.fullmatch(text) is not None


def redacted(text: str) -> str:
    """The text with the secrets of all API keys and webhooks replaced."""
    return _WEBHOOK_SECRET.sub(r"\1***", _SHOWN.sub(r"\1***", text))


def _letters(raw: bytes) -> str:
    return base64.b32encode(raw).decode().rstrip("=").lower()


def _checksum(body: str) -> str:
    return _letters(zlib.crc32(body.encode()).to_bytes(4, "big"))
