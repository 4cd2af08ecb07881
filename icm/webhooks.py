# `python -m scripts.write_client` writes this file from async_webhooks.py: edit that one.
"""The webhooks of a project from Python; `scripts/write_client.py` makes the blocking module of this one."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypeVar

from icm import webhook_calls as calls
from icm.calls import Call, Document, Page

T = TypeVar("T")


class _Making(Protocol):
    def __call__(self, call: Call[T], /) -> T: ...


class _Paging(Protocol):
    def __call__(self, first: Call[Page[T]], /) -> Iterator[T]: ...


class Webhooks:
    """A project's webhooks (docs/webhooks.md); documents are the service's JSON."""

    def __init__(self, make: _Making, pages: _Paging) -> None:
        self._make = make
        self._pages = pages

    def create(self, url: str, *, events: Sequence[str] = (), description: str = "") -> Document:
        """Have an address told of ends and pauses of jobs, or of these events; `secret` is in this answer alone."""
        return self._make(calls.create(url, events, description))

    def list(self) -> list[Document]:
        """All of the project's, the oldest first."""
        return self._make(calls.listed())

    def get(self, webhook_id: str) -> Document:
        """One of them."""
        return self._make(calls.get(webhook_id))

    def update(self, webhook_id: str, **changes: Any) -> Document:
        """Change url, events, description or enabled."""
        return self._make(calls.update(webhook_id, changes))

    def delete(self, webhook_id: str) -> None:
        """Remove one with its log."""
        self._make(calls.delete(webhook_id))

    def rotate(self, webhook_id: str) -> Document:
        """A new `secret`, in this answer alone; the old one signs beside it for 24 hours."""
        return self._make(calls.rotate(webhook_id))

    def test(self, webhook_id: str) -> Document:
        """Send a `webhook.test` message."""
        return self._make(calls.send_test(webhook_id))

    def deliveries(self, webhook_id: str) -> Iterator[Document]:
        """What it was sent, newest first, fetched page by page as it is read."""
        return self._pages(calls.deliveries(webhook_id, page_size=100))

    def resend(self, webhook_id: str, delivery_id: str) -> Document:
        """Send a message again under its old id."""
        return self._make(calls.resend(webhook_id, delivery_id))
