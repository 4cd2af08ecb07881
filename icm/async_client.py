"""The async Python client: the calls of `icm.client.Client`, awaited."""

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self, TypeVar

import anyio
import anyio.to_thread
import httpx

from icm import calls
from icm.calls import Call, Page
from icm.data.files import saved
from icm.data.tables import read_dataset, read_frame, read_table
from icm.data.uploads import Source, prepared
from icm.documents import Event, Job
from icm.errors import api_error
from icm.flows import Flow, Pause, Send
from icm.requests import (
    DEFAULT_URL,
    EVENTS_TIMEOUT,
    PAGE_SIZE,
    POLL_SECONDS,
    RECONNECT_SECONDS,
    TIMEOUT,
    Requests,
    with_key,
)
from icm.retries import Outcome, RetryPolicy
from icm.sse import EventCursor
from icm.webhooks import AsyncWebhooks

T = TypeVar("T")


class AsyncClient(Requests):
    """A connection to the service under asyncio or trio; arguments and errors are those of `Client`."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        retries: RetryPolicy | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: httpx.Timeout = TIMEOUT,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        super().__init__(retries)
        self._http = httpx.AsyncClient(
            base_url=url, headers=with_key(headers, api_key), timeout=timeout, transport=transport
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Release every connection."""
        await self._http.aclose()

    async def create_job(
        self,
        dataset: Source,
        config: Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
        filename: str | None = None,
    ) -> Job:
        """See `Client.create_job`."""
        with prepared(dataset, filename=filename) as upload:
            return await self._call(calls.create_job(upload, config, idempotency_key=idempotency_key))

    async def estimate(
        self, dataset: Source, config: Mapping[str, Any], *, filename: str | None = None
    ) -> calls.Document:
        """See `Client.estimate`."""
        with prepared(dataset, filename=filename) as upload:
            return await self._call(calls.estimate(upload, config))

    async def job(self, job_id: str) -> Job:
        """See `Client.job`."""
        return await self._call(calls.job(job_id))

    def jobs(self, *, status: str | None = None) -> AsyncIterator[Job]:
        """See `Client.jobs`."""
        return self._items(calls.jobs(status=status, page_size=100))

    def labels(self, job_id: str, *, order: str = "position") -> AsyncIterator[calls.Document]:
        """See `Client.labels`."""
        return self._items(calls.labels(job_id, order=order, page_size=PAGE_SIZE))

    async def result(
        self,
        job_id: str,
        *,
        to: str | Path,
        result_format: str | None = None,
        partial: bool = False,
        formula_safe: bool = False,
        raw_probability: bool = False,
    ) -> Path:
        """See `Client.result`."""
        flags = {"partial": partial, "formula_safe": formula_safe, "raw_probability": raw_probability}
        return await self._call(self._download(job_id, to, result_format, **flags))

    async def result_table(self, job_id: str, *, partial: bool = False, raw_probability: bool = False) -> Any:
        """See `Client.result_table`."""
        return await self._result_by(read_table, job_id, partial=partial, raw_probability=raw_probability)

    async def result_frame(self, job_id: str, *, partial: bool = False, raw_probability: bool = False) -> Any:
        """See `Client.result_frame`."""
        return await self._result_by(read_frame, job_id, partial=partial, raw_probability=raw_probability)

    async def result_dataset(self, job_id: str, *, partial: bool = False, raw_probability: bool = False) -> Any:
        """See `Client.result_dataset`."""
        return await self._result_by(read_dataset, job_id, partial=partial, raw_probability=raw_probability)

    async def _result_by(self, read: Callable[[Path], Any], job_id: str, **flags: bool) -> Any:
        with TemporaryDirectory() as folder:
            path = await self._call(self._download(job_id, Path(folder) / "result.parquet", "parquet", **flags))
            return await anyio.to_thread.run_sync(read, path)

    async def report(self, job_id: str) -> calls.Document:
        """See `Client.report`."""
        return await self._call(calls.report(job_id))

    async def report_html(self, job_id: str, *, to: str | Path) -> Path:
        """See `Client.report_html`."""
        return await self._call(calls.report_page(job_id, Path(to)))

    async def models(self) -> list[calls.Document]:
        """See `Client.models`."""
        return await self._call(calls.models())

    async def pause(self, job_id: str) -> Job:
        """See `Client.pause`."""
        return await self._call(calls.pause(job_id))

    async def resume(self, job_id: str) -> Job:
        """See `Client.resume`."""
        return await self._call(calls.resume(job_id))

    @property
    def webhooks(self) -> AsyncWebhooks:
        """See `Client.webhooks`."""
        return AsyncWebhooks(self._call, self._items)

    async def cancel(self, job_id: str) -> Job:
        """See `Client.cancel`."""
        return await self._call(calls.cancel(job_id))

    async def delete(self, job_id: str) -> None:
        """See `Client.delete`."""
        await self._call(calls.delete(job_id))

    async def wait(
        self,
        job_id: str,
        *,
        timeout_seconds: float | None = None,
        poll_seconds: float = POLL_SECONDS,
        on_change: Callable[[Job], None] | None = None,
    ) -> Job:
        """See `Client.wait`."""
        return await self._drive(self._until_final(job_id, timeout_seconds, poll_seconds, on_change))

    async def events(self, job_id: str, *, after: int = 0) -> AsyncIterator[Event]:
        """See `Client.events`."""
        cursor = EventCursor(after)
        while not cursor.is_done:
            headers = cursor.connect(job_is_final=(await self.job(job_id)).is_final)
            with contextlib.suppress(httpx.TransportError):
                async for event in self._stream(job_id, headers, cursor):
                    yield event
            if not cursor.is_done:
                await anyio.sleep(RECONNECT_SECONDS)

    async def _stream(self, job_id: str, headers: Mapping[str, str], cursor: EventCursor) -> AsyncIterator[Event]:
        path = f"{calls.job_path(job_id)}/events"
        async with self._http.stream("GET", path, headers=dict(headers), timeout=EVENTS_TIMEOUT) as response:
            if not response.is_success:
                await response.aread()
                raise api_error(response)
            async for chunk in response.aiter_bytes():
                for event in cursor.feed(chunk):
                    yield event
            cursor.closed()

    async def _items(self, first: Call[Page[T]]) -> AsyncIterator[T]:
        following: Call[Page[T]] | None = first
        while following is not None:
            page = await self._call(following)
            for item in page.items:
                yield item
            following = page.following

    async def _call(self, call: Call[T]) -> T:
        return await self._drive(self._exchange(call))

    async def _drive(self, flow: Flow[T]) -> T:
        outcome: Outcome | None = None
        while True:
            try:
                step = flow.send(outcome)
            except StopIteration as end:
                value: T = end.value
                return value
            outcome = await self._do(step)

    async def _do(self, step: Send | Pause) -> Outcome | None:
        if isinstance(step, Pause):
            await anyio.sleep(step.seconds)
            return None
        return await self._send(step.call)

    async def _send(self, call: Call[Any]) -> Outcome:
        try:
            with call.arguments() as arguments:
                async with self._http.stream(call.method, call.path, **arguments) as response:
                    if call.save_to is None or not response.is_success:
                        await response.aread()
                    else:
                        with saved(call.save_to) as file:
                            async for chunk in response.aiter_bytes():
                                await anyio.to_thread.run_sync(file.write, chunk)
                    return response
        except httpx.TransportError as error:
            return error
