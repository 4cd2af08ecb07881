"""Scores texts by finished reward models, in a child process that keeps the one in use loaded."""

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog
from anyio import to_thread

from service.errors import RewardModelUnusable, RewardsUnavailable
from service.ports.artifacts import Artifacts
from service.records.rewards import Rewarded, RewardModel
from service.training_process.child import TRAINING
from service.training_process.installed import missing_modules
from service.training_process.reward_child import RewardChild
from service.training_process.trained_scorer import as_folder, remove_idle

logger = structlog.get_logger(__name__)

IDLE_SECONDS = 300.0  # without a request, after which the process with the reward model ends
MOST_WAITING = 32  # requests that wait for their turn, or are being scored
_LEFT_SECONDS = 3600.0  # a folder as old as this was left by a process that was killed while it loaded
_MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardSettings:
    """The operator's bases by name, the device, and a folder for files that a process reads while it loads."""

    bases: Mapping[str, str]
    folder: Path
    device: str = "auto"
    threads: int = 1
    idle_seconds: float = IDLE_SECONDS


class ChildRewardScorer:
    """Loads one reward model at a time, since the memory may not suffice for two large ones."""

    def __init__(self, settings: RewardSettings, artifacts: Artifacts, *, program: Sequence[str] = TRAINING) -> None:
        self._settings = settings
        self._artifacts = artifacts
        self._program = program
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._loaded: tuple[str, RewardChild] | None = None  # by the hash of its files
        self._idle: asyncio.TimerHandle | None = None
        self._closing: set[asyncio.Task[None]] = set()

    def problem(self, base: str) -> str | None:
        """The message about a missing module or base; None if nothing is missing."""
        if missing := missing_modules():
            return (
                f"reward models need {', '.join(missing)}, which is not installed here: install the extra `training` "
                "wherever the API and the workers run (docs/training.md)"
            )
        if base not in self._settings.bases:
            return f"the reward model belongs to the base {base!r}, and ICM_TRAINING__BASES does not name it here"
        return None

    async def score(self, model: RewardModel, texts: Sequence[str]) -> Rewarded:
        """Load the reward model unless it is loaded, and score the texts."""
        if (problem := self.problem(model.base)) is not None:
            raise RewardModelUnusable(problem)
        async with self._my_turn():
            child = await self._child(model)
            await child.ready()
            return await child.answer(texts)

    async def close(self) -> None:
        """End the process that has a reward model loaded."""
        self._cancel_timer()
        await self._unload()
        await asyncio.gather(*self._closing)

    @asynccontextmanager
    async def _my_turn(self) -> AsyncIterator[None]:
        if self._waiting >= MOST_WAITING:
            raise RewardsUnavailable(f"{MOST_WAITING} requests wait for rewards already; ask again later")
        self._waiting += 1
        try:
            async with self._turn:
                self._cancel_timer()
                try:
                    yield
                finally:
                    self._idle = asyncio.get_running_loop().call_later(self._settings.idle_seconds, self._when_idle)
        finally:
            self._waiting -= 1

    def _cancel_timer(self) -> None:
        if self._idle is not None:
            self._idle.cancel()

    def _when_idle(self) -> None:
        """Start a task that unloads the reward model, after `idle_seconds` without a request."""
        task = asyncio.create_task(self._unload_unused())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _unload_unused(self) -> None:
        async with self._turn:
            if self._idle is not None and self._idle.when() <= asyncio.get_running_loop().time():
                await self._unload()

    async def _child(self, model: RewardModel) -> RewardChild:
        """The process with this reward model; it may still be loading."""
        if self._loaded is not None and self._loaded[0] == model.sha256 and not self._loaded[1].has_ended:
            return self._loaded[1]
        await self._unload()
        child = await self._started(model)
        self._loaded = model.sha256, child
        return child

    async def _unload(self) -> None:
        if self._loaded is not None:
            (_, child), self._loaded = self._loaded, None
            await child.close()

    async def _started(self, model: RewardModel) -> RewardChild:
        """Start a process that loads the reward model; its files are deleted once it has loaded them."""
        try:
            folder = await to_thread.run_sync(self._new_folder)
        except OSError as error:
            logger.warning("files of reward models cannot be written", reason=str(error))
            raise RewardsUnavailable(
                "the reward model's files cannot be written in the service's data folder"
            ) from error
        try:
            await self._lay_out(model, folder)
            base = as_folder(self._settings.bases[model.base])
            options = ("--base", base, "--device", self._settings.device, "--threads", str(self._settings.threads))
            names = {str(folder): f"the training {model.training_id}", base: model.base}
            child = await RewardChild.start(folder, options, names=names, program=self._program)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        child.when_loaded(partial(shutil.rmtree, folder, ignore_errors=True))
        logger.info("a reward model is being loaded", training=model.training_id)
        return child

    def _new_folder(self) -> Path:
        self._settings.folder.mkdir(parents=True, exist_ok=True)
        remove_idle(self._settings.folder, _LEFT_SECONDS)
        return Path(tempfile.mkdtemp(dir=self._settings.folder))

    async def _lay_out(self, model: RewardModel, folder: Path) -> None:
        """Write the files as the command wrote them. Raises ArtifactsUnavailable and ArtifactMissing."""
        (folder / _MANIFEST).write_text(json.dumps(model.manifest), "utf-8")
        await self._artifacts.fetch(model.training_id, model.sha256, folder / model.manifest["artifact"]["folder"])
