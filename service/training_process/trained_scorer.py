"""Trains the base that a backend names in child processes, and reads what each of them makes of further rows."""

import asyncio
import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from service.errors import TrainingFailed
from service.ports.training import OnEvent
from service.records.trainings import TrainingEnd, TrainingEvent
from service.search.predictions.prompt_tree import TreeScores
from service.search.predictions.training import TrainAndScore
from service.training_process.bases import identity_of
from service.training_process.child import TRAINING, TrainingChild
from service.training_process.installed import missing_modules
from service.training_process.trained_files import examples_of, questions_of, read_scores, spec_of, write_rows

TRIES = 3  # of a training that is killed or ends without a word; each goes on from the last one's checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What may be trained, by folder or hub name; on which device, and how many trainings run side by side."""

    name: str
    device: str = "auto"
    at_once: int = 1


class ChildTrainer:
    """Trainings in a folder of their own each, below `folder`; one that was stopped goes on there."""

    def __init__(self, base: Base, folder: Path, *, program: Sequence[str] = TRAINING) -> None:
        self._base = base
        self._folder = folder
        self._program = program
        self._turn = asyncio.Semaphore(base.at_once)

    async def problem(self) -> str | None:
        """What is missing here."""
        if missing := missing_modules():
            return (
                f"training needs {', '.join(missing)}, which is not installed here: install the extra `training` "
                "wherever the API and workers run (docs/training.md)"
            )
        try:
            await self.identify()
        except TrainingFailed as error:
            return str(error)
        return None

    async def identify(self) -> str:
        """A hash of the base's files, and the device. Raises TrainingFailed where there are none."""
        found = await asyncio.to_thread(identity_of, self._base.name)
        return f"{found.fingerprint} {self._base.device}"

    async def train_and_score(
        self, asked: TrainAndScore, labels: Sequence[str], *, separator: str, stop: asyncio.Event
    ) -> TreeScores | None:
        """Run a child to its end, or until `stop` is set. Raises TrainingFailed."""
        spec = spec_of(asked, labels, separator)
        spec |= {"base": _as_folder(self._base.name), "device": self._base.device}
        examples, questions = examples_of(asked, labels), questions_of(asked)
        told = json.dumps([await self.identify(), spec, examples, questions]).encode()
        folder = self._folder / hashlib.sha256(told).hexdigest()[:32]
        async with self._turn:
            await asyncio.to_thread(write_rows, folder, examples, questions)
            if not await self._finished(TrainingChild(folder, spec, program=self._program), Alive(folder), stop):
                return None
            found = await asyncio.to_thread(read_scores, folder / "out", asked, len(labels))
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        return found

    async def _finished(self, child: TrainingChild, alive: OnEvent, stop: asyncio.Event) -> bool:
        """Whether the training came to its end; not where it was told to stop. Raises TrainingFailed."""
        for _ in range(TRIES):
            outcome = await child.run(alive, stop)
            match outcome.end:
                case TrainingEnd.FINISHED:
                    return True
                case TrainingEnd.STOPPED:
                    return False
                case TrainingEnd.FAILED:
                    raise TrainingFailed(f"a training of {self._base.name!r} failed: {outcome.reason}")
        raise TrainingFailed(f"a training of {self._base.name!r} failed {TRIES} times: {outcome.reason}")


@dataclass(frozen=True, slots=True)
class Alive:
    """Keeps the folder of a training from looking idle; beyond that a search waits for the scores alone."""

    folder: Path

    async def __call__(self, event: TrainingEvent) -> None:
        """Whatever was told."""
        del event
        os.utime(self.folder)


def forget_idle(folder: Path, idle_seconds: float) -> int:
    """Remove the folders of trainings in which nothing has happened for so long; how many. They hold rows of jobs.

    A training that was stopped and is asked for again begins anew then. Ages go by the file system's own clock.
    """
    if not folder.is_dir():
        return 0
    (mark := folder / ".now").touch()
    before = mark.stat().st_mtime - idle_seconds
    idle = [each for each in folder.iterdir() if each.is_dir() and each.stat().st_mtime < before]
    for each in idle:
        shutil.rmtree(each, ignore_errors=True)
    return len(idle)


def _as_folder(name: str) -> str:
    """The whole path of a folder, since the training runs elsewhere; a hub name as it is."""
    folder = Path(name).expanduser()
    return str(folder.resolve()) if folder.is_dir() else name
