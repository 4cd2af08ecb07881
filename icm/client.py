# `python -m scripts.write_client` writes this file from async_client.py: edit that one.
"""The service from Python: every call of the HTTP interface as a method.

Engineers edit `AsyncClient`, which runs under asyncio and trio; `scripts/write_client.py` writes the blocking `Client`
from it. Both do the I/O alone: `calls` says what they send and how they read answers, `flows` when they ask again.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from icm.calls import jobs as calls
from icm.calls import trainings as training_calls
from icm.calls.call import Call, Document, Page
from icm.data.files import saved
from icm.data.tables import read_dataset, read_frame, read_table
from icm.data.uploads import Source, prepared
from icm.documents import Event, Job, Training
from icm.errors import api_error
from icm.flows import Flow, Pause, Send
from icm.pace import run, sleep
from icm.requests import (
    DEFAULT_URL,
    EVENTS_TIMEOUT,
    PAGE_SIZE,
    POLL_SECONDS,
    RECONNECT_SECONDS,
    TIMEOUT,
    Requests,
    usable_url,
    with_key,
)
from icm.retries import Outcome, RetryPolicy
from icm.sse import EventCursor
from icm.trainings import Trainings
from icm.webhooks import Webhooks

T = TypeVar("T")


class Client(Requests):
    """A connection to the service; use it as a context manager or close it.

    Every call may raise ApiError if the service refuses, and ServerUnreachable if it does not answer. The client
    repeats calls that are safe to repeat after connection errors, 429 and 503. It sends `headers` with every request,
    and the API key, which a service beyond this machine requires.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        retries: RetryPolicy | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: httpx.Timeout = TIMEOUT,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        super().__init__(retries)
        self._http = httpx.Client(
            base_url=usable_url(url), headers=with_key(headers, api_key), timeout=timeout, transport=transport
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release every connection."""
        self._http.close()

    def create_job(
        self,
        dataset: Source,
        config: Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
        filename: str | None = None,
    ) -> Job:
        """Send a data set to be labelled: a file's path, an open file, bytes, a table, or rows.

        A table comes from pyarrow, pandas, polars or `datasets`; the client sends NaN, NaT and NA of pandas as null.
        The service stores nothing if any row is bad; the ApiError names the lines and fields. UnsendableData names row
        and column of a value that the client cannot send. Without `idempotency_key` the client makes one, so that it
        can repeat the call safely. The ending of `filename` names the format of bytes or of an open file; without it
        the format is JSON lines.
        """
        with prepared(dataset, filename=filename) as upload:
            return self._call(calls.create_job(upload, config, idempotency_key=idempotency_key))

    def estimate(self, dataset: Source, config: Mapping[str, Any], *, filename: str | None = None) -> Document:
        """Estimate the cost of a job, with a sample prompt and warnings. The service stores nothing."""
        with prepared(dataset, filename=filename) as upload:
            return self._call(calls.estimate(upload, config))

    def job(self, job_id: str) -> Job:
        """Read the present state of a job."""
        return self._call(calls.job(job_id))

    def jobs(self, *, status: str | None = None) -> Iterator[Job]:
        """Iterate over all jobs, newest first; the client fetches them page by page."""
        return self._items(calls.jobs(status=status, page_size=100))

    def labels(self, job_id: str, *, order: str = "position") -> Iterator[Document]:
        """Iterate over the present label states, by `position`, or by `confidence` from the lowest."""
        return self._items(calls.labels(job_id, order=order, page_size=PAGE_SIZE))

    def result(
        self,
        job_id: str,
        *,
        to: str | Path,
        result_format: str | None = None,
        partial: bool = False,
        formula_safe: bool = False,
        raw_probability: bool = False,
    ) -> Path:
        """Download the labelled data set; the format follows the file's ending if not given.

        The file appears once it is complete. `partial` accepts a cancelled or failed job with its labels so far.
        `formula_safe` makes CSV safe for spreadsheets, which then run no cell as a formula. `raw_probability` adds the
        column icm_raw_probability: the label's probability before calibration.
        """
        flags = {"partial": partial, "formula_safe": formula_safe, "raw_probability": raw_probability}
        return self._call(self._download(job_id, to, result_format, **flags))

    def result_table(self, job_id: str, *, partial: bool = False, raw_probability: bool = False) -> Any:
        """Return the labelled data set as a `pyarrow.Table`, with the types of the table or Parquet file sent."""
        return self._result_by(read_table, job_id, partial=partial, raw_probability=raw_probability)

    def result_frame(self, job_id: str, *, partial: bool = False, raw_probability: bool = False) -> Any:
        """Return the labelled data set as a `pandas.DataFrame`. Raises MissingLibrary."""
        return self._result_by(read_frame, job_id, partial=partial, raw_probability=raw_probability)

    def result_dataset(self, job_id: str, *, partial: bool = False, raw_probability: bool = False) -> Any:
        """Return the labelled data set as a `datasets.Dataset`. Raises MissingLibrary."""
        return self._result_by(read_dataset, job_id, partial=partial, raw_probability=raw_probability)

    def _result_by(self, read: Callable[[Path], Any], job_id: str, **flags: bool) -> Any:
        with TemporaryDirectory() as folder:
            path = self._call(self._download(job_id, Path(folder) / "result.parquet", "parquet", **flags))
            return run(read, path)

    def report(self, job_id: str) -> Document:
        """Read the report: how far you can trust the labels, and why."""
        return self._call(calls.report(job_id))

    def report_html(self, job_id: str, *, to: str | Path) -> Path:
        """Download the report as one HTML page with plots; the file appears once it is complete."""
        return self._call(calls.report_page(job_id, Path(to)))

    def models(self) -> list[Document]:
        """List the scoring backends for configurations, the default first."""
        return self._call(calls.models())

    def pause(self, job_id: str) -> Job:
        """Pause a job until somebody resumes it; workers save their current steps."""
        return self._call(calls.control(job_id, "pause"))

    def resume(self, job_id: str) -> Job:
        """Resume a paused job; workers retry a job that waits for its backend or for tokens at once."""
        return self._call(calls.control(job_id, "resume"))

    def train(self, *job_ids: str, idempotency_key: str | None = None, **settings: Any) -> Training:
        """Train on the rows of finished jobs; the settings are the fields of the request (docs/training.md)."""
        return self.trainings.create(*job_ids, idempotency_key=idempotency_key, **settings)

    def score(
        self, training_id: str, texts: Sequence[str] = (), *, prompts: Sequence[tuple[str, Sequence[str]]] = ()
    ) -> tuple[float, ...]:
        """The rewards that a trained reward model gives texts, or responses behind prompts (`trainings.score`)."""
        return self.trainings.score(training_id, texts, prompts=prompts)

    @property
    def trainings(self) -> Trainings:
        """The project's trainings."""
        return Trainings(self._call, self._items, self._wait_for_training)

    def _wait_for_training(
        self, training_id: str, seconds: float | None, on_change: Callable[[Training], None] | None
    ) -> Training:
        return self._drive(
            self._until_final(training_calls.get(training_id), training_id, seconds, POLL_SECONDS, on_change)
        )

    @property
    def webhooks(self) -> Webhooks:
        """The project's webhooks."""
        return Webhooks(self._call, self._items)

    def cancel(self, job_id: str) -> Job:
        """Cancel a job; it keeps its labels so far."""
        return self._call(calls.control(job_id, "cancel"))

    def delete(self, job_id: str) -> None:
        """Delete a finished job with its rows and labels."""
        self._call(calls.delete(job_id))

    def wait(
        self,
        job_id: str,
        *,
        timeout_seconds: float | None = None,
        poll_seconds: float = POLL_SECONDS,
        on_change: Callable[[Job], None] | None = None,
    ) -> Job:
        """Wait until a job has succeeded, failed or been cancelled. Raises TimeoutError."""
        return self._drive(self._until_final(calls.job(job_id), job_id, timeout_seconds, poll_seconds, on_change))

    def events(self, job_id: str, *, after: int = 0) -> Iterator[Event]:
        """Iterate over a job's events until it has ended; the client reconnects after a lost connection."""
        cursor = EventCursor(after)
        while not cursor.is_done:
            headers = cursor.connect(job_is_final=(self.job(job_id)).is_final)
            with contextlib.suppress(httpx.TransportError):
                for event in self._stream(job_id, headers, cursor):
                    yield event
            if not cursor.is_done:
                sleep(RECONNECT_SECONDS)

    def _stream(self, job_id: str, headers: Mapping[str, str], cursor: EventCursor) -> Iterator[Event]:
        path = f"{calls.job_path(job_id)}/events"
        with self._http.stream("GET", path, headers=dict(headers), timeout=EVENTS_TIMEOUT) as response:
            if not response.is_success:
                response.read()
                raise api_error(response)
            for chunk in response.iter_bytes():
                for event in cursor.feed(chunk):
                    yield event
            cursor.closed()

    def _items(self, first: Call[Page[T]]) -> Iterator[T]:
        following: Call[Page[T]] | None = first
        while following is not None:
            page = self._call(following)
            for item in page.items:
                yield item
            following = page.following

    def _call(self, call: Call[T]) -> T:
        return self._drive(self._exchange(call))

    def _drive(self, flow: Flow[T]) -> T:
        outcome: Outcome | None = None
        while True:
            try:
                step = flow.send(outcome)
            except StopIteration as end:
                value: T = end.value
                return value
            outcome = self._do(step)

    def _do(self, step: Send | Pause) -> Outcome | None:
        if isinstance(step, Pause):
            sleep(step.seconds)
            return None
        return self._send(step.call)

    def _send(self, call: Call[Any]) -> Outcome:
        try:
            with call.arguments() as arguments:
                with self._http.stream(call.method, call.path, **arguments) as response:
                    if call.save_to is None or not response.is_success:
                        response.read()
                    else:
                        with saved(call.save_to) as file:
                            for chunk in response.iter_bytes():
                                run(file.write, chunk)
                    return response
        except httpx.TransportError as error:
            return error
