"""The common base of all fake servers: routes, recorded calls, faults by plan, concurrent calls, clients that leave.

A fake server is an ASGI application; a kind of server is a subclass that knows its JSON.
"""

import asyncio
import json
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, ClassVar

import orjson

from tests.servers.connections import Connections
from tests.servers.faults import RETRY_AFTER_SECONDS, WITH_RETRY_AFTER, Fault, Plan
from tests.servers.language_model import ToyLanguageModel, usual_model

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: status, body (JSON by default) and further headers."""

    content: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    media_type: str = "application/json"

    @property
    def body(self) -> bytes:
        """The bytes to send: JSON, or text unchanged."""
        if isinstance(self.content, bytes):
            return self.content
        return orjson.dumps(self.content) if self.media_type == "application/json" else str(self.content).encode()


class Refusal(Exception):
    """Raised by a handler to answer with an error."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.body.decode())
        self.reply = reply


@dataclass
class Seen:
    """A recorded call, and its outcome."""

    method: str
    path: str
    headers: Mapping[str, str]
    raw: bytes
    fault: Fault | None = None
    status: int | None = None  # of the answer; None if there was none
    reply: Any = None  # the JSON of the answer before a fault spoilt it
    left: bool = False  # the client left before the answer

    @property
    def body(self) -> Any:
        """The call's JSON; None if it has none."""
        return json.loads(self.raw) if self.raw else None


@dataclass
class Load:
    """Concurrent calls: how many the server runs, how many may wait, and the most so far."""

    running: int | None = None
    waiting: int | None = None  # None: without limit
    under_way: int = 0
    most: int = 0
    _slots: asyncio.Semaphore | None = None

    def is_full(self) -> bool:
        """Whether another call would exceed both limits."""
        return self.running is not None and self.waiting is not None and self.under_way >= self.running + self.waiting

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count a call as running within the block."""
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            yield
        finally:
            self.under_way -= 1

    @property
    def slots(self) -> asyncio.Semaphore:
        """The slots for running calls; practically unlimited if there is no limit."""
        if self._slots is None:
            self._slots = asyncio.Semaphore(self.running or 1_000_000)
        return self._slots


Handler = Callable[[Seen], Awaitable[Reply]]


class FakeServer(ABC):
    """A fake server. `latency_seconds` is the least time of a scoring call, 0 by default."""

    kind: ClassVar[str]
    scoring_paths: ClassVar[frozenset[str]]

    def __init__(
        self,
        model: ToyLanguageModel | None = None,
        *,
        plan: Plan | None = None,
        latency_seconds: float = 0.0,
        load: Load | None = None,
        api_key: str | None = None,
    ) -> None:
        self.model = model or usual_model()
        self.plan = plan or Plan()
        self.latency_seconds = latency_seconds
        self.load = load or Load()
        self.api_key = api_key
        self.successor: Callable[[], None] | None = None  # the change at a restart
        self.hidden = " False"  # the text whose first token Fault.MISSING_LABEL hides
        self.seen: list[Seen] = []
        self.connections = Connections()
        self.tokens_computed = 0  # of all scoring calls, whether the server reports it or not
        self._scoring_calls = 0
        self._attempts: Counter[bytes] = Counter()
        self._changed = asyncio.Event()

    @property
    def scored(self) -> list[Seen]:
        """All scoring calls so far."""
        return [seen for seen in self.seen if seen.path in self.scoring_paths]

    def plan_from_now(self, plan: Plan) -> None:
        """Follow this plan from now on; resets the counts of calls and attempts, and the records."""
        self.plan, self._scoring_calls = plan, 0
        self._attempts.clear()
        self.seen.clear()

    def restart(self) -> None:
        """Break every connection, empty the prefix cache and become the successor, if there is one."""
        self.connections.reset_all()
        self.forget_prefixes()
        if self.successor is not None:
            self.successor()

    async def until(self, is_so: Callable[[], bool], *, timeout_seconds: float = 20.0) -> None:
        """Wait until a recorded call has made the condition true. Raises TimeoutError."""
        async with asyncio.timeout(timeout_seconds):
            while not is_so():
                self._changed.clear()
                await self._changed.wait()

    @abstractmethod
    def routes(self) -> Mapping[tuple[str, str], Handler]:
        """The handler of every method and path."""

    @abstractmethod
    def failure(self, fault: Fault) -> Reply:
        """An answer with an error status, in this server's words."""

    @abstractmethod
    def spoil(self, fault: Fault, seen: Seen, content: Any) -> Any:
        """A good answer after the fault has spoilt it."""

    @abstractmethod
    def forget_prefixes(self) -> None:
        """Empty the prefix cache."""

    @property
    def hidden_token(self) -> int:
        """The token that Fault.MISSING_LABEL hides."""
        return self.model.tokenizer.ids(self.hidden)[0]

    def unauthorized(self, seen: Seen) -> Reply | None:
        """The answer to a call without the key; None if the path needs none."""
        if self.api_key is None or seen.headers.get("authorization") == f"Bearer {self.api_key}":
            return None
        return self.failure(Fault.UNAUTHORIZED)

    def not_found(self, seen: Seen) -> Reply:
        """The answer for an unknown path."""
        return Reply({"detail": f"no route {seen.path}"}, 404)

    async def computing(self, tokens: int) -> None:
        """Take the time of a scoring call, and count its tokens."""
        self.tokens_computed += tokens
        if self.latency_seconds:
            await asyncio.sleep(self.latency_seconds)

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one call, by ASGI."""
        seen = Seen(scope["method"], scope["path"], _headers(scope), await _read(receive))
        self.seen.append(seen)
        if seen.path in self.scoring_paths:
            self._scoring_calls += 1
            self._attempts[seen.raw] += 1
            seen.fault = self.plan.fault(self._scoring_calls, seen.raw, self._attempts[seen.raw])
        self._changed.set()
        work = asyncio.create_task(self._reply(seen))
        leaving = asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait({work, leaving}, return_when=asyncio.FIRST_COMPLETED)
            seen.left = not work.done()
        finally:
            leaving.cancel()
            work.cancel()  # does nothing to work that is done
        if not seen.left:
            await self._send(seen, await work, scope, send)
        if seen.fault in _RESETS:
            await _gone(receive)
        self._changed.set()

    async def _reply(self, seen: Seen) -> Reply:
        match seen.fault:
            case Fault.SILENT:
                await asyncio.Event().wait()
            case Fault.RESTARTED:
                return Reply()
            case fault if fault in _STATUSES:
                return self._failed(fault)
        refused = self.unauthorized(seen)
        if refused is not None:
            return refused
        handler = self.routes().get((seen.method, seen.path))
        if handler is None:
            return self.not_found(seen)
        try:
            return await handler(seen)
        except Refusal as refusal:
            return refusal.reply

    def _failed(self, fault: Fault) -> Reply:
        if fault is Fault.BAD_GATEWAY:
            return Reply("<html><h1>502 Bad Gateway</h1></html>", 502, media_type="text/html")
        reply = self.failure(fault)
        if fault not in WITH_RETRY_AFTER:
            return reply
        is_date = fault in {Fault.OVERLOADED_DATE, Fault.UNAVAILABLE_DATE}
        after = formatdate(time.time() + RETRY_AFTER_SECONDS, usegmt=True) if is_date else str(RETRY_AFTER_SECONDS)
        headers = {"retry-after": after, "date": formatdate(usegmt=True)}
        return Reply(reply.content, reply.status, headers, reply.media_type)

    async def _send(self, seen: Seen, reply: Reply, scope: Mapping[str, Any], send: Send) -> None:
        if seen.fault is Fault.RESTARTED:
            self.restart()
            return
        if seen.fault is Fault.RESET_BEFORE:
            self.connections.reset(scope["client"])
            return
        seen.status, seen.reply = reply.status, reply.content
        body = self._spoilt(seen, reply) if seen.fault is not None and reply.status == 200 else reply.body
        await send({"type": "http.response.start", "status": reply.status, "headers": _raw_headers(reply, len(body))})
        if seen.fault is Fault.RESET_WITHIN:
            await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
            self.connections.reset(scope["client"])
            return
        await send({"type": "http.response.body", "body": body})

    def _spoilt(self, seen: Seen, reply: Reply) -> bytes:
        """The body of a good answer after the fault has spoilt it."""
        match seen.fault:
            case Fault.MALFORMED:
                return b"<html>It works!</html>"
            case Fault.CUT_JSON:
                return reply.body[: len(reply.body) // 2]
            case Fault.EMPTY:
                return b""
            case Fault.OTHER_FORM:
                return b'{"detail": [true]}'
            case fault if fault is not None and isinstance(reply.content, (dict, list)):
                spoilt = self.spoil(fault, seen, json.loads(reply.body))
                return json.dumps(spoilt).encode()  # unlike orjson it writes NaN
        return reply.body


_STATUSES = frozenset(
    {
        Fault.OVERLOADED,
        Fault.FAILED,
        Fault.BAD_GATEWAY,
        Fault.UNAVAILABLE,
        Fault.REFUSED,
        Fault.UNAUTHORIZED,
        *WITH_RETRY_AFTER,
    }
)
_RESETS = frozenset({Fault.RESET_BEFORE, Fault.RESET_WITHIN, Fault.RESTARTED})


def _headers(scope: Mapping[str, Any]) -> dict[str, str]:
    return {name.decode().lower(): value.decode() for name, value in scope["headers"]}


def _raw_headers(reply: Reply, length: int) -> list[tuple[bytes, bytes]]:
    headers = {"content-type": reply.media_type, "content-length": str(length), **reply.headers}
    return [(name.encode(), value.encode()) for name, value in headers.items()]


async def _read(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if message["type"] != "http.request" or not message.get("more_body"):
            return bytes(body)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
