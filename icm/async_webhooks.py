"""The client's methods for webhooks; `scripts/write_client.py` writes the blocking module from this one."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol, TypeVar

from icm.calls import webhooks as calls
from icm.calls.call import Call, Document, Page

T = TypeVar("T")


class _Making(Protocol):
    async def __call__(self, call: Call[T], /) -> T: ...


class _Paging(Protocol):
    def __call__(self, first: Call[Page[T]], /) -> AsyncIterator[T]: ...


class AsyncWebhooks:
    """A project's webhooks (docs/webhooks.md); documents are the service's JSON."""

    def __init__(self, make: _Making, pages: _Paging) -> None:
        self._make = make
        self._pages = pages

    async def create(self, url: str, *, events: Sequence[str] = (), description: str = "") -> Document:
        """Create a webhook for ends and pauses of jobs, or for these events; only this answer contains `secret`."""
        return await self._make(calls.create(url, events, description))

    async def list(self) -> list[Document]:
        """List the project's webhooks, oldest first."""
        return await self._make(calls.listed())

    async def get(self, webhook_id: str) -> Document:
        """Read a webhook."""
        return await self._make(calls.get(webhook_id))

    async def update(self, webhook_id: str, **changes: Any) -> Document:
        """Change url, events, description or enabled of a webhook."""
        return await self._make(calls.update(webhook_id, changes))

    async def delete(self, webhook_id: str) -> None:
        """Delete a webhook with its log."""
        await self._make(calls.delete(webhook_id))

    async def rotate(self, webhook_id: str) -> Document:
        """Create a new `secret`, which only this answer contains; for 24 hours the old one signs as well."""
        return await self._make(calls.rotate(webhook_id))

    async def test(self, webhook_id: str) -> Document:
        """Send a `webhook.test` message."""
        return await self._make(calls.send_test(webhook_id))

    def deliveries(self, webhook_id: str) -> AsyncIterator[Document]:
        """Iterate over a webhook's messages, newest first; the client fetches them page by page."""
        return self._pages(calls.deliveries(webhook_id, page_size=100))

    async def resend(self, webhook_id: str, delivery_id: str) -> Document:
        """Send a message again under its old id."""
        return await self._make(calls.resend(webhook_id, delivery_id))
