"""Detect a service at the default address, and servers that nobody listens for."""

import socket
from urllib.parse import urlsplit

import httpx

_SECONDS = 0.5  # a service on this machine answers in milliseconds
_FAR_SECONDS = 2.0  # for a server elsewhere to take a connection
_PROBLEMS = "urn:icm:problem:"  # prefix of the types of this service's errors, including that of a missing key


def service_answers(url: str) -> bool:
    """Whether a service like ours answers there. The request has neither data nor a key, and names no existing job."""
    try:
        answer = httpx.get(f"{url}/v1/jobs/none", timeout=_SECONDS, trust_env=False)
        return str(answer.json()["type"]).startswith(_PROBLEMS)
    except (httpx.HTTPError, KeyError, TypeError, ValueError):
        return False


def something_listens(url: str) -> bool:
    """Whether a server takes connections at this web address, whatever it serves."""
    parts = urlsplit(url)
    port = parts.port or {"https": 443}.get(parts.scheme, 80)
    try:
        with socket.create_connection((parts.hostname or "", port), timeout=_FAR_SECONDS):
            return True
    except OSError:
        return False
