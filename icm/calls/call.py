"""Describes one HTTP call as a value: the request, and the function that reads the answer. This module does no I/O."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx

from icm.data.rows import settings_text
from icm.data.uploads import Upload
from icm.errors import UnusableId

T = TypeVar("T")

Document = dict[str, Any]

_PATIENCE_SECONDS = 30.0  # for one read of a job


@dataclass(frozen=True, kw_only=True)
class Call(Generic[T]):
    """One request and the reader of its successful answer."""

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] | None = None
    body: Mapping[str, Any] | None = None  # JSON
    upload: Upload | None = None
    timeout_seconds: float | None = None  # for connecting and for each read, if it is less than the client's
    save_to: Path | None = None  # file for the body of a successful answer
    repeatable: bool = True  # repeating it has no further effect

    @contextmanager
    def arguments(self) -> Iterator[Document]:
        """Yield httpx's arguments beside method and path, with the upload opened for one attempt."""
        arguments: Document = {"params": dict(self.params), "headers": dict(self.headers)}
        if self.timeout_seconds is not None:
            arguments["timeout"] = min(self.timeout_seconds, _PATIENCE_SECONDS)
        if self.body is not None:
            arguments["content"] = settings_text(self.body)
            arguments["headers"]["Content-Type"] = "application/json"
        if self.upload is None:
            yield arguments
            return
        with self.upload.opened() as file:
            arguments["data"] = {"config": settings_text(self.config or {})}
            arguments["files"] = {"dataset": (self.upload.name, file, self.upload.content_type)}
            yield arguments


def address_of(parent: str, thing: str) -> str:
    """The address of a job or the like below its parent's address.

    Raises UnusableId for what is no text, and for "", "." and "..", which would lead to another address.
    """
    if not isinstance(thing, str):  # a caller without types
        given = type(thing).__name__
        raise UnusableId(f"an id must be text, and this is of type {given}; a job's or training's id is its `.id`")
    if not thing.strip(". "):
        raise UnusableId(f"{thing!r} is no id; take one as the service tells it, such as job_7165...")
    return f"{parent}/{quote(thing, safe='')}"


@dataclass(frozen=True, kw_only=True)
class Page(Generic[T]):
    """A part of a list, and the call that gets the next part."""

    items: list[T]
    following: "Call[Page[T]] | None"


def listing(path: str, params: Mapping[str, str], read: Callable[[Document], T]) -> Call[Page[T]]:
    """A list, page by page."""
    return Call(method="GET", path=path, params=params, read=partial(_page, path, params, read))


def _page(path: str, params: Mapping[str, str], read: Callable[[Document], T], response: httpx.Response) -> Page[T]:
    document = document_of(response)
    cursor = document.get("next_cursor")
    following = None if cursor is None else listing(path, {**params, "cursor": cursor}, read)
    return Page(items=[read(item) for item in document["data"]], following=following)


def document_of(response: httpx.Response) -> Document:
    """The answer as it is."""
    document: Document = response.json()
    return document


def data_of(response: httpx.Response) -> list[Document]:
    """The items of a list without pages."""
    data: list[Document] = document_of(response)["data"]
    return data


def nothing(_response: httpx.Response) -> None:
    """There is nothing to read."""
    return


def saved_call(path: str, params: Mapping[str, str], to: Path) -> Call[Path]:
    """A call that saves its answer; `icm.data.files.saved` makes the file appear once it is complete."""
    return Call(method="GET", path=path, read=lambda _: to, params=params, save_to=to)
