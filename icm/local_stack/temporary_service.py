"""A private service for the length of a run, on free ports and with temporary data."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from icm.errors import IcmError

_STOP_SECONDS = 60.0  # each stage of parts has a quarter of it to end in order


class PrivateServiceFailed(IcmError):
    """The private service did not start or died; the text names the part and has the end of its log.

    `exit_code` is the service's exit code if it gave a reason.
    """

    def __init__(self, message: str, exit_code: int | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class PrivateService:
    """`icm serve` as a context manager that yields the URL.

    It runs in a separate process, which ends with this one in whatever way. `adapters` are LoRA adapters of the
    language model, folders by name: models of the service beside `default`. `tell_stage` gets a line for each stage of
    its start.
    """

    def __init__(
        self,
        *,
        language_model: str | None = None,
        workers: int = 1,
        adapters: Mapping[str, Path] | None = None,
        tell_stage: Callable[[str], None] = lambda _stage: None,
    ) -> None:
        self._tell_stage = tell_stage
        self._command = [sys.executable, "-P", "-m", "icm", "serve-private", str(os.getpid()), "--json"]
        self._command += ["--workers", str(workers)]
        self._command += [] if language_model is None else ["--model", language_model]
        self._command += [f"--adapter={name}={folder}" for name, folder in (adapters or {}).items()]
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed on leaving
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> str:
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._stderr, process_group=0
        )
        try:
            return self._url(self._process)
        except BaseException:
            self._close(self._process)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is None:
            return
        has_died = self._process.poll() is not None
        why = self._why() if has_died else None
        self._close(self._process)
        if why is not None and isinstance(error, IcmError):
            raise why from error

    def _url(self, process: subprocess.Popen[bytes]) -> str:
        for line in process.stdout or ():
            document = json.loads(line)
            if "url" in document:
                url: str = document["url"]
                return url
            self._tell_stage(document["stage"])
        process.wait()
        raise self._why()

    def _close(self, process: subprocess.Popen[bytes]) -> None:
        """End the service and all processes of its group."""
        try:
            if process.poll() is None:
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_STOP_SECONDS)
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
            self._stderr.close()

    def _why(self) -> PrivateServiceFailed:
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        try:
            last = json.loads(lines[-1])
            return PrivateServiceFailed(str(last["error"]["detail"]), last.get("exit_code"))
        except (IndexError, KeyError, TypeError, ValueError):
            return PrivateServiceFailed("\n".join(["the private service ended", *lines]))
