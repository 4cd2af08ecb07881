"""Exit codes, and messages about errors for people and scripts."""

import json
import sys
from enum import IntEnum
from typing import Any

import typer
from pydantic import ValidationError

from icm.commands.output import on_stderr, write_line
from icm.data.conversion import NotAsPublished
from icm.documents import Job, Training
from icm.errors import ApiError, DamagedDownload, IcmError, OnlyTheClient, ServerUnreachable, UnreadableRows
from icm.local_stack.postgres_binaries import EmbeddedPostgresError
from icm.local_stack.supervisor import PartFailed, PartMisused
from icm.local_stack.temporary_service import PrivateServiceFailed
from service.errors import InvalidInput, ServiceError, StorageUnavailable
from service.jobs.checks.plain_words import sentence
from service.terminal import visible_line

_SHOWN_FAULTS = 20


class ExitCode(IntEnum):
    """How a command ended; part of the command line's contract."""

    OK = 0
    JOB_ENDED_BADLY = 1  # the job failed or was cancelled
    USAGE = 2  # wrong arguments, or a file that cannot be read or written
    INVALID_INPUT = 3  # the service cannot use rows or configuration; the message lists lines and fields
    UNREACHABLE = 4  # no answer from the service
    REFUSED = 5  # the service will not do it: no such job, job not finished, internal error
    SERVICE_FAILED = 6  # a part of the service did not start here, or died
    VERDICT = 7  # the labels are there, and --fail-on refuses their verdict
    INTERRUPTED = 130  # Ctrl-C, or a person answered no


class BadConfigFile(IcmError):
    """The configuration file is not a JSON object."""


class UnusableBackends(BadConfigFile):
    """The value of `--backends` names no backend that a service could use."""


class NotConfirmed(IcmError):
    """A person did not confirm."""


class VerdictRefused(IcmError):
    """The caller does not accept the report's verdict; the command has written its files all the same."""


class JobEndedBadly(IcmError):
    """The job, or the training, failed or was cancelled."""

    def __init__(self, job: Job | Training) -> None:
        error = job.error or {}
        why = f": {error['message']}" if error.get("message") else ""
        what = "training" if isinstance(job, Training) else "job"
        super().__init__(f"{what} {job.id} {job.status}{why}")
        self.job = job


EXPECTED = (IcmError, PartFailed, ServiceError, OSError)

# The first match counts.
_CODES: tuple[tuple[tuple[type[Exception], ...], ExitCode], ...] = (
    ((JobEndedBadly,), ExitCode.JOB_ENDED_BADLY),
    ((VerdictRefused,), ExitCode.VERDICT),
    ((NotConfirmed,), ExitCode.INTERRUPTED),
    ((PartMisused, UnusableBackends), ExitCode.USAGE),
    ((PartFailed, EmbeddedPostgresError, PrivateServiceFailed, OnlyTheClient), ExitCode.SERVICE_FAILED),
    ((ServerUnreachable, StorageUnavailable), ExitCode.UNREACHABLE),
    ((BadConfigFile, NotAsPublished, UnreadableRows, InvalidInput), ExitCode.INVALID_INPUT),
    ((ServiceError, DamagedDownload), ExitCode.REFUSED),
)


_OF_CALLERS = (ExitCode.USAGE, ExitCode.INVALID_INPUT)  # a private service gets the arguments of its caller


def report_failure(error: Exception, *, as_json: bool) -> ExitCode:
    """Print an expected error on stderr and return the exit code."""
    code = exit_code(error)
    if as_json:
        sys.stderr.write(json.dumps({"error": _document(error), "exit_code": int(code)}) + "\n")
        return code
    console = on_stderr()
    # A service's message is one line; the failure of a part includes the last lines of its log.
    text = _text(error)
    message = visible_line(text) if isinstance(error, ApiError | JobEndedBadly | PartMisused | UnreadableRows) else text
    console.print(f"Error: {message}", style="red", highlight=False, soft_wrap=True)
    if isinstance(error, InvalidInput):
        for found in error.faults:
            write_line(console, f"  {found.field}: {found.message}")
    if isinstance(error, ApiError | UnreadableRows):
        for fault in error.errors[:_SHOWN_FAULTS]:
            write_line(console, f"  {fault}")
        if len(error.errors) > _SHOWN_FAULTS:
            write_line(console, f"  ... and {len(error.errors) - _SHOWN_FAULTS} more")
    if isinstance(error, ApiError) and not error.is_invalid_input and error.request_id is not None:
        write_line(console, f"  request {error.request_id}")
    return code


def _text(error: Exception) -> str:
    if isinstance(error, ApiError | UnreadableRows):
        return error.detail
    return _of_the_system(error) if isinstance(error, OSError) else str(error)


def in_plain_words(error: Exception) -> None:
    """Replace the message of an option's value that typer refused with pydantic's words."""
    cause = error.__cause__
    if isinstance(error, typer.BadParameter) and isinstance(cause, ValidationError):
        first = cause.errors()[0]
        error.message = visible_line(sentence(first["type"], first["msg"], first.get("ctx", {})))


def _of_the_system(error: OSError) -> str:
    """The refusal of the operating system and the path, without the error's number."""
    return str(error) if error.strerror is None else f"{error.filename or 'the system'}: {error.strerror}"


def exit_code(error: Exception) -> ExitCode:
    """The exit code of this error."""
    if isinstance(error, ApiError):
        return ExitCode.INVALID_INPUT if error.is_invalid_input else ExitCode.REFUSED
    if isinstance(error, PrivateServiceFailed) and error.exit_code in _OF_CALLERS:
        return ExitCode(error.exit_code)
    return next((code for kinds, code in _CODES if isinstance(error, kinds)), ExitCode.USAGE)


def _document(error: Exception) -> dict[str, Any]:
    match error:
        case ApiError():
            return error.document()
        case UnreadableRows():
            return {"detail": error.detail, "errors": [fault.document() for fault in error.errors]}
        case JobEndedBadly():
            what = "training" if isinstance(error.job, Training) else "job"
            return {"detail": str(error), what: dict(error.job.document)}
    return {"detail": _text(error)}
