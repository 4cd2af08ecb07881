# `python -m scripts.write_client` writes this file from async_webhooks.py: edit that one.
"""The client's methods for webhooks; `scripts/write_client.py` writes the blocking module from this one."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypeVar

from icm.calls import webhooks as calls
from icm.calls.call import Call, Document, Page

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
        """Create a webhook for ends and pauses of jobs, or for these events; only this answer contains `secret`."""
        return self._make(calls.create(url, events, description))

    def list(self) -> list[Document]:
        """List the project's webhooks, oldest first."""
        return self._make(calls.listed())

    def get(self, webhook_id: str) -> Document:
        """Read a webhook."""
        return self._make(calls.get(webhook_id))

    def update(self, webhook_id: str, **changes: Any) -> Document:
        """Change url, events, description or enabled of a webhook."""
        return self._make(calls.update(webhook_id, changes))

    def delete(self, webhook_id: str) -> None:
        """Delete a webhook with its log."""
        self._make(calls.delete(webhook_id))

    def rotate(self, webhook_id: str) -> Document:
        """Create a new `secret`, which only this answer contains; for 24 hours the old one signs as well."""
        return self._make(calls.rotate(webhook_id))

    def test(self, webhook_id: str) -> Document:
        """Send a `webhook.test` message."""
        return self._make(calls.send_test(webhook_id))

    def deliveries(self, webhook_id: str) -> Iterator[Document]:
        """Iterate over a webhook's messages, newest first; the client fetches them page by page."""
        return self._pages(calls.deliveries(webhook_id, page_size=100))

    def resend(self, webhook_id: str, delivery_id: str) -> Document:
        """Send a message again under its old id."""
        return self._make(calls.resend(webhook_id, delivery_id))
