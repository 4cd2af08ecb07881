"""Decode server-sent events, and resume after a lost connection."""

import codecs
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from icm.documents import Event

_NUMBER = re.compile(r"[0-9]{1,18}")
_LINE_END = re.compile(r"\r\n|\n|\r")


class EventDecoder:
    """Turn the bytes of one connection into events, in chunks of any size, and ignore foreign events.

    This class splits lines itself, since `str.splitlines` also splits at characters that JSON
    allows, such as U+2028.
    """

    def __init__(self) -> None:
        self._text = codecs.getincrementaldecoder("utf-8-sig")("replace")  # as the HTML standard reads event streams
        self._pending = ""
        self._id = ""
        self._type = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Yield the events that these bytes complete."""
        self._pending += self._text.decode(chunk)
        while (end := _LINE_END.search(self._pending)) is not None:
            if end.group() == "\r" and end.end() == len(self._pending):
                return  # its "\n" may still be on the way
            line, self._pending = self._pending[: end.start()], self._pending[end.end() :]
            event = self._take(line)
            if event is not None:
                yield event

    def _take(self, line: str) -> Event | None:
        if not line:
            return self._complete()
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match field:
            case "id":
                self._id = value
            case "event":
                self._type = value
            case "data":
                self._data.append(value)
        return None

    def _complete(self) -> Event | None:
        """End an event at an empty line; without data there is no event."""
        lines, kind = self._data, self._type or "message"
        self._data, self._type = [], ""
        if not lines or not _NUMBER.fullmatch(self._id):
            return None
        data = _data_of("\n".join(lines))
        return None if data is None else Event(id=int(self._id), type=kind, data=data)


def _data_of(text: str) -> Mapping[str, Any] | None:
    """The data of an event; None if the text is no document of the service."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    data = document.get("data") or {} if isinstance(document, dict) else None
    return data if isinstance(data, dict) else None


class EventCursor:
    """Remember the last event, and know when there are no more.

    A connection has surely delivered the last event only if it began after the end of the job and
    closed without an error.
    """

    def __init__(self, after: int = 0) -> None:
        self._last = after
        self._job_was_final = False
        self._decoder = EventDecoder()
        self.is_done = False

    def connect(self, *, job_is_final: bool) -> dict[str, str]:
        """Start a connection and return its request headers."""
        self._job_was_final = job_is_final
        self._decoder = EventDecoder()
        headers = {"Accept": "text/event-stream"}
        return headers | ({"Last-Event-ID": str(self._last)} if self._last else {})

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Yield the new events in these bytes, without repeated ones."""
        for event in self._decoder.feed(chunk):
            if event.id > self._last:
                self._last = event.id
                yield event

    def closed(self) -> None:
        """Note that the server has closed the connection without an error."""
        self.is_done = self._job_was_final
