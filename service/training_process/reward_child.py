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
_REFUSALS = (2, 3)  # exit statuses of the command: its arguments or the reward model, or the base, are at fault


class RewardChild:
    """One process with one reward model. It answers requests one by one, in their order."""

    def __init__(self, process: asyncio.subprocess.Process, names: Mapping[str, str]) -> None:
        self._process = process
        self._names = names
        self._numbers = count(1)
        self._answers: dict[str, asyncio.Future[Mapping[str, Any]]] = {}
        self._reasons: deque[str] = deque(maxlen=_TAIL_LINES)
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ready.add_done_callback(_retrieve_error)
        self._following = asyncio.create_task(self._follow())

    @classmethod
    async def start(
        cls, folder: Path, options: Sequence[str], *, names: Mapping[str, str], program: Sequence[str] = TRAINING
    ) -> "RewardChild":
        """Start the process with the finished training in a folder; `ready` returns once it has loaded it.

        `names` maps paths of this machine to the names that messages show in their place. Call it from the main
        thread: the child ends with the thread that started it (Linux).
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
        """Whether the process has ended, so that it answers no further request."""
        return self._following.done()

    def when_loaded(self, then: Callable[[], object]) -> None:
        """Call `then` once the reward model is loaded or has failed to load."""
        self._ready.add_done_callback(lambda _: then())

    async def ready(self) -> None:
        """Return once the reward model is loaded. Cancelling the caller does not stop the loading.

        Raises RewardModelUnusable and RewardsUnavailable.
        """
        await asyncio.shield(self._ready)

    async def answer(self, texts: Sequence[str]) -> Rewarded:
        """The reward of each text. If the caller is cancelled, the later answer is ignored.

        Raises RewardModelUnusable and RewardsUnavailable.
        """
        await self.ready()
        name = str(next(self._numbers))
        answer = self._answers[name] = asyncio.get_running_loop().create_future()
        try:
            if self.has_ended:
                raise self._reason()
            await self._send({"id": name, "texts": list(texts)})
            facts = await answer
        finally:
            self._answers.pop(name, None)
        return [RewardedText(reward, tokens) for reward, tokens in zip(facts["rewards"], facts["tokens"], strict=True)]

    async def close(self) -> None:
        """Kill the process and wait for its end."""
        with suppress(ProcessLookupError):
            self._process.kill()
        await asyncio.gather(self._following, return_exceptions=True)

    async def _send(self, request: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None  # noqa: S101 - `start` asks for a pipe
        with suppress(ConnectionError):  # it has ended, and `_follow` says why
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            await self._process.stdin.drain()

    async def _follow(self) -> None:
        """Pass the process's answers to their waiters until it ends; then pass the error to those left."""
        messages = asyncio.create_task(self._log_messages())
        try:
            await self._read_events()
            await asyncio.gather(messages, self._process.wait())
        finally:
            messages.cancel()
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            self._end()

    async def _read_events(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - `start` asks for a pipe
        async for line in lines_of(self._process.stdout, _LONGEST_LINE_BYTES):
            event = event_of(line)
            match event and event.name:
                case "ready" if not self._ready.done():
                    self._ready.set_result(None)
                case "rewards" if event is not None:
                    if (waiting := self._answers.get(str(event.facts["id"]))) is not None and not waiting.done():
                        waiting.set_result(event.facts)
                case "end" if event is not None:
                    self._reasons.append(str(event.facts.get("reason", "")))

    async def _log_messages(self) -> None:
        assert self._process.stderr is not None  # noqa: S101 - `start` asks for a pipe
        async for line in lines_of(self._process.stderr, _LONGEST_LINE_BYTES):
            logger.debug("the reward model's process says", line=shown(line))

    def _end(self) -> None:
        waiters: list[asyncio.Future[Any]] = [self._ready, *self._answers.values()]
        for waiting in waiters:
            if not waiting.done():
                waiting.set_exception(self._reason())

    def _reason(self) -> Exception:
        """The error for waiters after the end of the process, by its exit status."""
        status, reason = self._process.returncode, self._reasons[-1] if self._reasons else ""
        for place, name in self._names.items():
            reason = reason.replace(place, name)
        if status in _REFUSALS:
            return RewardModelUnusable(f"the reward model cannot be used: {reason.removeprefix('DIR: ')}")
        how = reason or f"its process ended with status {status}"
        logger.warning("the process of a reward model has ended", status=status, reason=reason)
        return RewardsUnavailable(f"the reward model stopped: {how}")


def _retrieve_error(future: "asyncio.Future[None]") -> None:
    """Retrieve the error, so that asyncio does not warn of one that no request waited for."""
    if not future.cancelled():
        future.exception()
