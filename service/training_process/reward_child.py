"""Runs `python -m training rewards` as a child that keeps one reward model loaded (docs/training.md)."""

import asyncio
import json
import os
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import structlog

from service.errors import RewardModelUnusable, RewardsUnavailable
from service.records.rewards import Rewarded, RewardedText
from service.training_process import tied
from service.training_process.child import SECRET, TRAINING, event_of, shown
from service.training_process.lines import lines_of

logger = structlog.get_logger(__name__)

_LONGEST_LINE_BYTES = 4_000_000
_TAIL_LINES = 5
_REFUSALS = (2, 3)  # statuses of the command: what was asked for, or the base, is at fault


class RewardChild:
    """One process with one reward model. It answers one request after the other, in their order."""

    def __init__(self, process: asyncio.subprocess.Process, names: Mapping[str, str]) -> None:
        self._process = process
        self._names = names
        self._numbers = count(1)
        self._asked: dict[str, asyncio.Future[Mapping[str, Any]]] = {}
        self._said: deque[str] = deque(maxlen=_TAIL_LINES)
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ready.add_done_callback(_looked_at)
        self._following = asyncio.create_task(self._follow())

    @classmethod
    async def start(
        cls, folder: Path, options: Sequence[str], *, names: Mapping[str, str], program: Sequence[str] = TRAINING
    ) -> "RewardChild":
        """Start the process with the finished training in a folder; `ready` says when it has loaded it.

        `names` has what people are told in place of paths of this machine. Use it from the main thread: the child
        ends with the thread that started it (Linux).
        """
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", tied.__file__, str(os.getpid())),
            *(*program, "rewards", str(folder), *options),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={name: value for name, value in os.environ.items() if not name.startswith(SECRET)},
        )
        return cls(process, names)

    @property
    def has_ended(self) -> bool:
        """Whether it will answer nothing more."""
        return self._following.done()

    def when_loaded(self, then: Callable[[], object]) -> None:
        """Call this once the reward model is loaded, or will never be."""
        self._ready.add_done_callback(lambda _: then())

    async def ready(self) -> None:
        """Return once the reward model is loaded; who stops waiting does not stop the loading.

        Raises RewardModelUnusable and RewardsUnavailable.
        """
        await asyncio.shield(self._ready)

    async def answer(self, texts: Sequence[str]) -> Rewarded:
        """The reward of each text. An answer that nobody waits for any more is passed over.

        Raises RewardModelUnusable and RewardsUnavailable.
        """
        await self.ready()
        name = str(next(self._numbers))
        answer = self._asked[name] = asyncio.get_running_loop().create_future()
        try:
            if self.has_ended:
                raise self._reason()
            await self._send({"id": name, "texts": list(texts)})
            found = await answer
        finally:
            self._asked.pop(name, None)
        return [RewardedText(reward, tokens) for reward, tokens in zip(found["rewards"], found["tokens"], strict=True)]

    async def close(self) -> None:
        """End the process, whatever it does."""
        with suppress(ProcessLookupError):
            self._process.kill()
        await asyncio.gather(self._following, return_exceptions=True)

    async def _send(self, request: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None  # noqa: S101 - it was asked for
        with suppress(ConnectionError):  # it has ended, and who follows it tells why
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            await self._process.stdin.drain()

    async def _follow(self) -> None:
        """Tell whoever waits what the process says, until it ends; then, that it has ended."""
        words = asyncio.create_task(self._read_words())
        try:
            await self._read_events()
            await asyncio.gather(words, self._process.wait())
        finally:
            words.cancel()
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            self._end()

    async def _read_events(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - it was asked for
        async for line in lines_of(self._process.stdout, _LONGEST_LINE_BYTES):
            event = event_of(line)
            match event and event.name:
                case "ready" if not self._ready.done():
                    self._ready.set_result(None)
                case "rewards" if event is not None:
                    if (waiting := self._asked.get(str(event.facts["id"]))) is not None and not waiting.done():
                        waiting.set_result(event.facts)
                case "end" if event is not None:
                    self._said.append(str(event.facts.get("reason", "")))

    async def _read_words(self) -> None:
        assert self._process.stderr is not None  # noqa: S101 - it was asked for
        async for line in lines_of(self._process.stderr, _LONGEST_LINE_BYTES):
            logger.debug("the reward model's process says", line=shown(line))

    def _end(self) -> None:
        waiters: list[asyncio.Future[Any]] = [self._ready, *self._asked.values()]
        for waiting in waiters:
            if not waiting.done():
                waiting.set_exception(self._reason())

    def _reason(self) -> Exception:
        """Why it answers nothing more, by its status."""
        status, said = self._process.returncode, self._said[-1] if self._said else ""
        for place, name in self._names.items():
            said = said.replace(place, name)
        if status in _REFUSALS:
            return RewardModelUnusable(f"the reward model cannot be used: {said.removeprefix('DIR: ')}")
        how = said or f"its process ended with status {status}"
        logger.warning("the process of a reward model has ended", status=status, reason=said)
        return RewardsUnavailable(f"the reward model stopped: {how}")


def _looked_at(future: "asyncio.Future[None]") -> None:
    """What nobody waited for needs no warning."""
    if not future.cancelled():
        future.exception()
