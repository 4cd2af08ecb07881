"""A hostile or merely odd request, and its expected outcome."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

Rows = list[dict[str, Any]]
TASK: dict[str, Any] = {"template": "{text}", "id_field": "id"}
CONFIG: dict[str, Any] = {"name": "corpus", "task": TASK}
BOUNDARY = "corpus-boundary"


@dataclass(frozen=True, kw_only=True)
class Case:
    """A request with a name and its outcome: rows that come back unchanged, or a problem with its place."""

    name: str
    body: Callable[[], bytes]
    headers: Mapping[str, str]
    status: int = 422
    line: int | None = None
    field: str | None = None
    told: str = ""
    rows: Rows | None = None  # of an accepted data set

    @property
    def is_accepted(self) -> bool:
        """Whether the request creates a job."""
        return self.rows is not None

    @property
    def has_place(self) -> bool:
        """Whether the problem has a line or a field."""
        return self.line is not None or self.field is not None


def form(
    content: bytes | Callable[[], bytes],
    filename: str | bytes,
    config: bytes = orjson.dumps(CONFIG),
) -> Callable[[], bytes]:
    """A multipart body, written byte by byte as a hostile client would."""
    name = filename if isinstance(filename, bytes) else filename.encode()

    def body() -> bytes:
        made = content() if callable(content) else content
        return b"".join(
            (
                f"--{BOUNDARY}\r\n".encode(),
                b'Content-Disposition: form-data; name="dataset"; filename="' + name + b'"\r\n\r\n',
                made,
                f'\r\n--{BOUNDARY}\r\nContent-Disposition: form-data; name="config"\r\n\r\n'.encode(),
                config,
                f"\r\n--{BOUNDARY}--\r\n".encode(),
            )
        )

    return body


FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Files:
    """Creates cases of uploaded files of one format."""

    format: str
    suffix: str
    cases: list[Case] = field(default_factory=list)

    def good(self, name: str, content: bytes | Callable[[], bytes], rows: Rows, **task: Any) -> None:
        """A readable file, and its rows."""
        self._add(name, content, 202, rows=rows, config=_config(task))

    def bad(
        self,
        name: str,
        content: bytes | Callable[[], bytes],
        told: str,
        line: int | None = None,
        field: str | None = None,
        **task: Any,
    ) -> None:
        """An unusable file, and the words of the refusal."""
        self._add(name, content, 422, told=told, line=line, field=field, config=_config(task))

    def refused(self, name: str, content: bytes | Callable[[], bytes], status: int, told: str) -> None:
        """A file that the service refuses before its end."""
        self._add(name, content, status, told=told)

    def _add(
        self,
        name: str,
        content: bytes | Callable[[], bytes],
        status: int,
        config: bytes = orjson.dumps(CONFIG),
        **outcome: Any,
    ) -> None:
        body = form(content, f"data{self.suffix}", config)
        self.cases.append(Case(name=f"{self.format}-{name}", body=body, headers=FORM, status=status, **outcome))


def _config(task: Mapping[str, Any]) -> bytes:
    return orjson.dumps({**CONFIG, "task": {**TASK, **task}})


def lines(*rows: Any) -> bytes:
    """JSON lines; bytes are copied unchanged."""
    return b"".join((row if isinstance(row, bytes) else orjson.dumps(row)) + b"\n" for row in rows)
