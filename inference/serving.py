"""The wires' common part: admission, tokenising, scoring, and dropping abandoned requests."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from fastapi import Request
from starlette.requests import ClientDisconnect

from inference.adapters.registry import Adapters
from inference.batching.generation import Generation, GenerationRequest
from inference.batching.scheduler import Scheduler
from inference.engine import Engine
from inference.errors import ClientGone, InvalidRequest, Overloaded
from inference.model.low_rank import Adapter
from inference.model.tokenization import PromptTokenizer
from inference.settings import Limits

VERSION = "0.1.0"
_CHARACTERS_AT_ONCE = 200_000  # a thread tokenises longer texts


class Serving:
    """A language model being served, with its adapters."""

    def __init__(self, engine: Engine, limits: Limits, adapters: Adapters | None = None) -> None:
        self.language_model = engine.language_model
        self.adapters = adapters or Adapters(self.language_model)
        self.adapters.when_unused(self._forget)
        self.engine = engine
        self.limits = limits
        self.tokenizer = PromptTokenizer(self.language_model.tokenizer)
        self.scheduler = Scheduler(engine, self.tokenizer)
        self.in_flight = 0

    def _forget(self, adapter: Adapter) -> None:
        self.scheduler.between_batches(partial(self.engine.forget, adapter))

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Hold a place among the running requests. Raises Overloaded if there is none."""
        if self.in_flight >= self.limits.max_concurrent_requests:
            raise Overloaded
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1

    async def body(self, request: Request) -> bytes:
        """Read the request's body. Raises InvalidRequest if it is too long, ClientGone if it does not end."""
        body = bytearray()
        try:
            async for chunk in request.stream():
                body += chunk
                if len(body) > self.limits.max_body_bytes:
                    raise InvalidRequest(f"the body is longer than {self.limits.max_body_bytes} bytes")
        except ClientDisconnect:
            raise ClientGone from None
        return bytes(body)

    async def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """The token ids of a prompt."""
        if self.tokenizer.by_line and len(text) <= _CHARACTERS_AT_ONCE:
            return self.tokenizer.encode(text, add_special_tokens=add_special_tokens)
        return await asyncio.to_thread(self.tokenizer.encode, text, add_special_tokens=add_special_tokens)

    async def generate(
        self, request: Request, wanted: Sequence[GenerationRequest], adapter: Adapter | None = None
    ) -> list[Generation]:
        """Return the answers, unless the client disconnects first. Raises ClientGone, GenerationFailed.

        Read the request's body before, and hold its adapter until the answers arrive.
        """
        answers = asyncio.ensure_future(self.scheduler.generate(wanted, adapter))
        hang_up = asyncio.ensure_future(_hang_up(request))
        try:
            await asyncio.wait((answers, hang_up), return_when=asyncio.FIRST_COMPLETED)
            if not answers.done():
                raise ClientGone
            return answers.result()
        finally:
            for task in (answers, hang_up):
                task.cancel()


async def _hang_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
