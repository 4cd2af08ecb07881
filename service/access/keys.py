"""The form of API keys: `icm_<public id>_<secret and checksum>`, all of it lower-case letters and the digits 2 to 7.

The public id finds the key in the database and may be shown anywhere. The secret has 256 random bits,
so a plain SHA-256 keeps it: what makes slow password hashes necessary is guessing, and nobody guesses
256 bits. The checksum tells a mistyped or cut key from an unknown one without a look at the database.
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
# Also what was cut short, or had something put behind it, still has most of its secret.
_SHOWN = re.compile(rf"(icm_{_LETTER}{{{_ID_LENGTH}}}_)[A-Za-z0-9]+", re.IGNORECASE)
# That of a webhook, in either form of base64.
_WEBHOOK_SECRET = re.compile(r"(whsec_)[A-Za-z0-9+/=_-]+")
_KEY_ID = re.compile(rf"{_LETTER}{{{_ID_LENGTH}}}")


@dataclass(frozen=True, slots=True)
class Key:
    """A whole key. Neither `str` nor `repr` gives the secret away."""

    id: KeyId
    text: str

    def __repr__(self) -> str:
        return f"Key(icm_{self.id}_...)"

    __str__ = __repr__

    @property
    def sha256(self) -> bytes:
        """What is stored in the secret's place."""
        return hashlib.sha256(self.text.encode()).digest()

    def matches(self, sha256: bytes) -> bool:
        """Whether this key is the stored one; takes equally long wherever they differ."""
        return hmac.compare_digest(self.sha256, sha256)


def new_key() -> Key:
    """A fresh key from the system's source of randomness."""
    return key_of(_letters(secrets.token_bytes(8))[:_ID_LENGTH], secrets.token_bytes(SECRET_BYTES))


def key_of(key_id: str, secret: bytes) -> Key:
    """The key with this id and these 32 secret bytes."""
    body = f"icm_{key_id}_{_letters(secret)}"
    return Key(KeyId(key_id), body + _checksum(body))


def read_key(text: str) -> Key:
    """The key in this text. Raises NotAuthenticated where it cannot be one; the text is never repeated."""
    found = _FORM.fullmatch(text)
    if found is None or _checksum(text[:-_CHECKSUM_LENGTH]) != text[-_CHECKSUM_LENGTH:]:
        raise NotAuthenticated("the API key is mistyped or cut short", key_was_sent=True)
    return Key(KeyId(found[1]), text)


def is_key_id(text: str) -> bool:
    """Whether this can be the public id of a key."""
    return _KEY_ID.fullmatch(text) is not None


def redacted(text: str) -> str:
    """The text with the secret of every API key and webhook in it taken out."""
    return _WEBHOOK_SECRET.sub(r"\1***", _SHOWN.sub(r"\1***", text))


def _letters(raw: bytes) -> str:
    return base64.b32encode(raw).decode().rstrip("=").lower()


def _checksum(body: str) -> str:
    return _letters(zlib.crc32(body.encode()).to_bytes(4, "big"))
