"""Decisions that both clients share: retries, time-outs, and the flows behind their calls."""

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import httpx

from icm.calls import jobs as calls
from icm.calls.call import Call
from icm.data.files import result_format_of
from icm.errors import UnusableKey, UnusableUrl
from icm.flows import Flow, Followed, exchange, until_final
from icm.retries import RetryPolicy
from service.values import port_fault

T = TypeVar("T")

DEFAULT_URL = "http://127.0.0.1:8000"
POLL_SECONDS = 0.5
PAGE_SIZE = 500
TIMEOUT = httpx.Timeout(30.0, connect=5.0, read=300.0)  # the service checks a large data set before it answers
EVENTS_TIMEOUT = httpx.Timeout(30.0, connect=5.0, read=60.0)  # the service sends a comment every 15 s
RECONNECT_SECONDS = 1.0


def usable_url(url: str) -> str:
    """The address of the service as given. Raises UnusableUrl where it lacks http:// or a host, or the port is none."""
    if (fault := port_fault(url)) is not None:
        raise UnusableUrl(f"{url!r} is no address of a service: it {fault}")
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL()
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise UnusableUrl(f"{url!r} is no address of a service: write it as {DEFAULT_URL}, with http:// or https://")
    return url


def with_key(headers: Mapping[str, str] | None, api_key: str | None) -> dict[str, str]:
    """Return the headers of every request, with the API key unless it is empty. Raises UnusableKey."""
    key = (api_key or "").strip()
    if not (key.isascii() and key.isprintable()):
        raise UnusableKey("the API key has characters that a request cannot carry: copy it again, without line breaks")
    return {**(headers or {}), **({"Authorization": f"Bearer {key}"} if key else {})}


class Requests:
    """Turn the arguments of a client's method into a call or a flow."""

    def __init__(self, retries: RetryPolicy | None) -> None:
        self._retries = retries or RetryPolicy()

    def _exchange(self, call: Call[T]) -> Flow[T]:
        return exchange(call, self._retries, random.random)

    def _download(self, job_id: str, to: str | Path, result_format: str | None, **flags: bool) -> Call[Path]:
        path = Path(to)
        return calls.result(job_id, path, result_format=result_format or result_format_of(path), **flags)

    def _until_final(
        self,
        look: Call[Followed],
        name: str,
        timeout_seconds: float | None,
        poll_seconds: float,
        on_change: Callable[[Followed], None] | None,
    ) -> Flow[Followed]:
        return until_final(
            look,
            self._exchange,
            name=name,
            poll_seconds=poll_seconds,
            timeout_seconds=timeout_seconds,
            on_change=on_change,
        )
