"""The webhooks of a project from Python, blocking and not."""

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from icm import webhook_calls as calls
from icm.calls import Call, Document, Page

T = TypeVar("T")


class _Making(Protocol):
    def __call__(self, call: Call[T], /) -> T: ...


class _Paging(Protocol):
    def __call__(self, first: Call[Page[T]], /) -> Iterator[T]: ...


class _MakingLater(Protocol):
    async def __call__(self, call: Call[T], /) -> T: ...


class _PagingLater(Protocol):
    def __call__(self, first: Call[Page[T]], /) -> AsyncIterator[T]: ...


class Webhooks:
    """What `Client.webhooks` is; documents are the service's JSON."""

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


class AsyncWebhooks:
    """What `AsyncClient.webhooks` is; see `Webhooks`."""

    def __init__(self, make: _MakingLater, pages: _PagingLater) -> None:
        self._make = make
        self._pages = pages

    async def create(self, url: str, *, events: Sequence[str] = (), description: str = "") -> Document:
        """See `Webhooks.create`."""
        return await self._make(calls.create(url, events, description))

    async def list(self) -> list[Document]:
        """See `Webhooks.list`."""
        return await self._make(calls.listed())

    async def get(self, webhook_id: str) -> Document:
        """See `Webhooks.get`."""
        return await self._make(calls.get(webhook_id))

    async def update(self, webhook_id: str, **changes: Any) -> Document:
        """See `Webhooks.update`."""
        return await self._make(calls.update(webhook_id, changes))

    async def delete(self, webhook_id: str) -> None:
        """See `Webhooks.delete`."""
        await self._make(calls.delete(webhook_id))

    async def rotate(self, webhook_id: str) -> Document:
        """See `Webhooks.rotate`."""
        return await self._make(calls.rotate(webhook_id))

    async def test(self, webhook_id: str) -> Document:
        """See `Webhooks.test`."""
        return await self._make(calls.send_test(webhook_id))

    def deliveries(self, webhook_id: str) -> AsyncIterator[Document]:
        """See `Webhooks.deliveries`."""
        return self._pages(calls.deliveries(webhook_id, page_size=100))

    async def resend(self, webhook_id: str, delivery_id: str) -> Document:
        """See `Webhooks.resend`."""
        return await self._make(calls.resend(webhook_id, delivery_id))
