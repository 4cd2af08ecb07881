"""Errors between a client and the service.

IcmError
├── ApiError            the service refused, with the reason
├── OnlyTheClient       a command needs parts of the service that are not installed
├── UnusableKey         the API key has characters that no request can carry
├── UnusableUrl         what was given as the service's address is none
├── UnusableId          what was given as an id is none
├── UnsendableData      the client cannot send a value; with row and column, or field
├── UnreadableRows      a command cannot use the rows of a file; with lines and fields
├── DamagedDownload     an archive differs from the service's hash, or contains something unsafe
├── MissingLibrary      the caller wants a table of a library that is not installed
└── ServerUnreachable   the service did not answer after all retries
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

_SHOWN_FAULTS = 5  # in an error's text; `errors` has all of them


@dataclass(frozen=True)
class Fault:
    """One fault of the input, with the physical line of the file (from 1) and the field if known."""

    message: str
    line: int | None = None
    field: str | None = None

    def document(self) -> dict[str, Any]:
        """Return the fault as JSON values, for programs."""
        return {"line": self.line, "field": self.field, "message": self.message}

    def __str__(self) -> str:
        place = [] if self.line is None else [f"line {self.line}"]
        place += [] if self.field is None else [f"field {self.field}"]
        return f"{', '.join(place)}: {self.message}" if place else self.message


def _with_first(detail: str, errors: Sequence[Fault]) -> str:
    """The text of an error with its first faults."""
    more = len(errors) - _SHOWN_FAULTS
    parts = [detail, *map(str, errors[:_SHOWN_FAULTS]), *([f"and {more} more"] if more > 0 else [])]
    return "; ".join(parts)


class IcmError(Exception):
    """Root of the client's errors."""


class ServerUnreachable(IcmError):
    """The service did not answer."""


class UnusableKey(IcmError, ValueError):
    """The API key has characters that no request can carry; the text does not repeat it."""


class UnusableUrl(IcmError, ValueError):
    """The address of the service lacks http:// or a host."""


class UnusableId(IcmError, ValueError, TypeError):
    """An id is no text, or is blank or dots alone, so that it would be the address of something else."""


class UnsendableData(IcmError, ValueError, TypeError):
    """The client cannot send rows or a configuration; the text names row (from 1) and column, or field, and remedy."""


class UnreadableRows(IcmError):
    """A command cannot use the rows of a file, which it reads itself; `errors` name lines and fields."""

    def __init__(self, detail: str, errors: Sequence[Fault] = ()) -> None:
        super().__init__(_with_first(detail, errors))
        self.detail = detail
        self.errors = tuple(errors)


class DamagedDownload(IcmError):
    """An archive cannot be unpacked, or its files are not those that the service named."""


class MissingLibrary(IcmError, ImportError):
    """The caller wants the result as a table of a library that is not installed."""


class ApiError(IcmError):
    """A problem document (RFC 9457), or another answer with an error status.

    `type` is stable, for programs. `errors` name the lines and fields of bad input; the text of the error includes the
    first of them. `request_id` identifies the request in the service's logs.
    """

    def __init__(
        self, status: int, *, kind: str, detail: str, errors: Sequence[Fault] = (), request_id: str | None = None
    ) -> None:
        super().__init__(_with_first(detail, errors))
        self.status = status
        self.type = kind
        self.detail = detail
        self.errors = tuple(errors)
        self.request_id = request_id

    @property
    def is_invalid_input(self) -> bool:
        """Whether the rows or the configuration are at fault, so that repeating the request is useless."""
        return bool(self.errors) or self.status in {400, 413, 415, 422}

    def document(self) -> dict[str, Any]:
        """Return the error as JSON values, for programs."""
        return {
            "type": self.type,
            "status": self.status,
            "detail": self.detail,
            "request_id": self.request_id,
            "errors": [fault.document() for fault in self.errors],
        }


def api_error(response: httpx.Response) -> ApiError:
    """Read an error response; without a problem document (a proxy's page, say) its text becomes the detail."""
    document = _problem(response)
    if document is None:
        text = response.text.strip()[:300]
        detail = f"{response.status_code} {response.reason_phrase}" + (f": {text}" if text else "")
        return ApiError(response.status_code, kind="about:blank", detail=detail)
    faults = document.get("errors") or []
    return ApiError(
        response.status_code,
        kind=str(document.get("type", "about:blank")),
        detail=str(document.get("detail") or document.get("title") or response.reason_phrase),
        errors=[_fault(fault) for fault in faults if isinstance(fault, dict)],
        request_id=document.get("request_id"),
    )


def _fault(document: dict[str, Any]) -> Fault:
    return Fault(str(document.get("message", "")), document.get("line"), document.get("field"))


def _problem(response: httpx.Response) -> dict[str, Any] | None:
    try:
        document = response.json()
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


class OnlyTheClient(IcmError):
    """A command needs a part of the service, and only the client is installed."""

    def __init__(self, command: str, missing: str) -> None:
        super().__init__(
            f"`icm {command}` runs a part of the service, and this installation has the client alone "
            f"(it lacks {missing}): pip install 'icm-service[embedded]' for everything on this machine, or "
            "'icm-service[server]' beside a Postgres and an inference server of yours; "
            "commands with --url need neither"
        )
