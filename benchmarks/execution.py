"""Makes runs, several processes at a time."""

import multiprocessing
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed

import torch

from benchmarks.data import LABELS
from benchmarks.local import LocalScorer, load_model
from benchmarks.runs import Measured, Run, execute


def all_measured(runs: Sequence[Run], folder: str, processes: int) -> Iterator[tuple[Run, Measured]]:
    """Every run with its measurements, in the order of their ends; writes a line to standard error for each."""
    began = time.monotonic()
    for number, (run, measured) in enumerate(_as_they_end(runs, folder, processes), start=1):
        minutes, seconds = divmod(round(time.monotonic() - began), 60)
        accuracy = measured.get("accuracy", "")
        sys.stderr.write(f"[{number}/{len(runs)} {minutes}:{seconds:02}] {run.key} {accuracy}\n")
        sys.stderr.flush()
        yield run, measured


def _as_they_end(runs: Sequence[Run], folder: str, processes: int) -> Iterator[tuple[Run, Measured]]:
    if processes == 1:
        scorer = LocalScorer(load_model(folder), LABELS)
        for run in runs:
            yield run, execute(run, scorer)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, _Process.begin, (folder,)) as pool:
        waiting = {pool.submit(_Process.execute, run): run for run in runs}
        for done in as_completed(waiting):
            yield waiting[done], done.result()


class _Process:
    """A worker process: it loads the language model once for all of its runs."""

    scorer: LocalScorer

    @classmethod
    def begin(cls, folder: str) -> None:
        torch.set_num_threads(1)
        cls.scorer = LocalScorer(load_model(folder), LABELS)

    @classmethod
    def execute(cls, run: Run) -> Measured:
        return execute(run, cls.scorer)
