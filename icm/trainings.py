# `python -m scripts.write_client` writes this file from async_trainings.py: edit that one.
"""The client's methods for trainings; `scripts/write_client.py` writes the blocking module from this one."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, TypeVar

from icm.calls import trainings as calls
from icm.calls.call import Call, Document, Page
from icm.data.archives import check_new, unpack
from icm.documents import Training
from icm.pace import run

T = TypeVar("T")
OnChange = Callable[[Training], None]
_ARCHIVE = "adapter.tar"


class _Making(Protocol):
    def __call__(self, call: Call[T], /) -> T: ...


class _Paging(Protocol):
    def __call__(self, first: Call[Page[T]], /) -> Iterator[T]: ...


class _Waiting(Protocol):
    def __call__(self, training_id: str, seconds: float | None, on_change: OnChange | None, /) -> Training: ...


class Trainings:
    """A project's trainings (docs/training.md)."""

    def __init__(self, make: _Making, pages: _Paging, wait: _Waiting) -> None:
        self._make = make
        self._pages = pages
        self._wait = wait

    def create(self, *job_ids: str, idempotency_key: str | None = None, **settings: Any) -> Training:
        """Train on the rows of finished jobs; the settings are the fields of the request (docs/training.md).

        Without an idempotency key the client makes one, so that it can repeat the call safely.
        """
        return self._make(calls.create(job_ids, settings, idempotency_key=idempotency_key))

    def estimate(self, *job_ids: str, **settings: Any) -> Document:
        """Estimate the rows and the cost of a training; the service stores nothing."""
        return self._make(calls.estimate(job_ids, settings))

    def get(self, training_id: str) -> Training:
        """Read the present state of a training."""
        return self._make(calls.get(training_id))

    def list(self, *, status: str | None = None) -> Iterator[Training]:
        """Iterate over all trainings, newest first; the client fetches them page by page."""
        return self._pages(calls.listed(status=status, page_size=100))

    def wait(
        self, training_id: str, *, timeout_seconds: float | None = None, on_change: OnChange | None = None
    ) -> Training:
        """Wait until a training has succeeded, failed or been cancelled. Raises TimeoutError."""
        return self._wait(training_id, timeout_seconds, on_change)

    def report(self, training_id: str) -> Document:
        """Read the report of a training that has succeeded."""
        return self._make(calls.report(training_id))

    def report_html(self, training_id: str, *, to: str | Path) -> Path:
        """Download the report as one HTML page with curves; the file appears once it is complete."""
        return self._make(calls.report_page(training_id, Path(to)))

    def adapter(self, training_id: str, *, to: str | Path) -> Path:
        """Download the adapter into a new folder, which appears once it is complete. Raises DamagedDownload."""
        check_new(Path(to))  # before the download of gigabytes begins
        sha256 = calls.sha256_of(self.get(training_id))
        with TemporaryDirectory() as folder:
            archive = self._make(calls.adapter(training_id, Path(folder) / _ARCHIVE))
            run(unpack, archive, Path(to), sha256)
        return Path(to)

    def score(
        self, training_id: str, texts: Sequence[str] = (), *, prompts: Sequence[tuple[str, Sequence[str]]] = ()
    ) -> tuple[float, ...]:
        """The rewards that a reward model gives whole texts, then responses behind their prompts, in their order.

        `prompts` has each prompt with its responses. At most 256 texts in one call (docs/training.md).
        """
        return tuple(one["score"] for one in self._make(calls.score(training_id, texts, prompts)))

    def pause(self, training_id: str) -> Training:
        """Pause a training until somebody resumes it."""
        return self._make(calls.control(training_id, "pause"))

    def resume(self, training_id: str) -> Training:
        """Resume a paused training; it ends with the same bytes as without the pause."""
        return self._make(calls.control(training_id, "resume"))

    def cancel(self, training_id: str) -> Training:
        """Cancel a training; the service keeps nothing of it."""
        return self._make(calls.control(training_id, "cancel"))

    def delete(self, training_id: str) -> None:
        """Delete a training that has ended, with all its files."""
        self._make(calls.delete(training_id))
