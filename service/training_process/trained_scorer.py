"""Runs a search's trainings in child processes, and returns the scores that the trained models give to further rows."""

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

TRIES = 3  # of a training that crashes; each resumes from the last checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """The base that may be trained, by folder or hub name; the device, and the number of concurrent trainings."""

    name: str
    device: str = "auto"
    at_once: int = 1


class ChildTrainer:
    """Runs each training in its own folder below `folder`; a stopped one resumes there."""

    def __init__(self, base: Base, folder: Path, *, program: Sequence[str] = TRAINING) -> None:
        self._base = base
        self._folder = folder
        self._program = program
        self._slots = asyncio.Semaphore(base.at_once)

    async def problem(self) -> str | None:
        """Why this installation cannot train the base; None if it can."""
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
        """A fingerprint of the base's files, and the device. Raises TrainingFailed if the base is not there."""
        identity = await asyncio.to_thread(identity_of, self._base.name)
        return f"{identity.fingerprint} {self._base.device}"

    async def train_and_score(
        self,
        request: TrainAndScore,
        labels: Sequence[str],
        *,
        separator: str,
        stop: asyncio.Event,
        all_spellings: bool = False,
    ) -> TreeScores | None:
        """Train and score; None if `stop` was set meanwhile. Raises TrainingFailed."""
        spec = spec_of(request, labels, separator, all_spellings=all_spellings)
        spec |= {"base": as_folder(self._base.name), "device": self._base.device}
        examples, questions = examples_of(request, labels), questions_of(request)
        identity = json.dumps([await self.identify(), spec, examples, questions]).encode()
        folder = self._folder / hashlib.sha256(identity).hexdigest()[:32]
        async with self._slots:
            await asyncio.to_thread(write_rows, folder, examples, questions)
            if not await self._finished(TrainingChild(folder, spec, program=self._program), TouchFolder(folder), stop):
                return None
            scores = await asyncio.to_thread(read_scores, folder / "out", request, len(labels))
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        return scores

    async def _finished(self, child: TrainingChild, on_event: OnEvent, stop: asyncio.Event) -> bool:
        """Run the training to its end; returns False if it was stopped. Raises TrainingFailed."""
        for _ in range(TRIES):
            outcome = await child.run(on_event, stop)
            match outcome.end:
                case TrainingEnd.FINISHED:
                    return True
                case TrainingEnd.STOPPED:
                    return False
                case TrainingEnd.FAILED:
                    raise TrainingFailed(f"a training of {self._base.name!r} failed: {outcome.reason}")
        raise TrainingFailed(f"a training of {self._base.name!r} failed {TRIES} times: {outcome.reason}")


@dataclass(frozen=True, slots=True)
class TouchFolder:
    """Handles the events of a search's training: touches its folder, so that it does not look idle."""

    folder: Path

    async def __call__(self, event: TrainingEvent) -> None:
        """Touch the folder, whatever the event."""
        del event
        os.utime(self.folder)


def remove_idle(folder: Path, idle_seconds: float) -> int:
    """Remove the folders of trainings, which contain rows of jobs, that were idle for `idle_seconds`; returns how many.

    A stopped training without its folder begins anew. The file system's clock measures ages.
    """
    if not folder.is_dir():
        return 0
    (mark := folder / ".now").touch()
    before = mark.stat().st_mtime - idle_seconds
    idle = [each for each in folder.iterdir() if each.is_dir() and each.stat().st_mtime < before]
    for each in idle:
        shutil.rmtree(each, ignore_errors=True)
    return len(idle)


def as_folder(name: str) -> str:
    """The absolute path of a folder, since the training runs in another folder; a hub name unchanged."""
    folder = Path(name).expanduser()
    return str(folder.resolve()) if folder.is_dir() else name
