"""Creates secrets and signs webhook messages by Standard Webhooks, version 1.0.0 (standardwebhooks.com).

Signing takes only a few lines of the standard library. The tests verify the signatures with the public library,
so that two independent implementations of the specification check each other.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime

PREFIX = "whsec_"
_SECRET_BYTES = 32  # the specification: between 24 and 64


def new_secret() -> str:
    """Create a secret from the system's source of randomness, in the form that receivers' libraries read."""
    return PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def signed_headers(message_id: str, body: bytes, keys: Sequence[str], at: datetime) -> dict[str, str]:
    """The headers that prove a message's origin and time to its receiver, with one signature per secret."""
    timestamp = str(int(at.timestamp()))
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(_signature(message_id, timestamp, body, key) for key in keys),
    }


def _signature(message_id: str, timestamp: str, body: bytes, secret: str) -> str:
    key = base64.b64decode(secret.removeprefix(PREFIX))
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
