"""Makes cells, a process for each language model."""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread

import torch

from benchmarks.real.cells import Bench, Cell, Measured
from benchmarks.real.scorer import Loaded
from inference.model.language_model import DtypeName


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of every process; `models` are folders or hub names by the short names of the cells."""

    models: Mapping[str, str]
    data: Path
    threads: int
    cache_tokens: int | None = None
    dtype: DtypeName = "auto"


@dataclass(frozen=True, slots=True)
class Made:
    """A finished cell: its measurements and the language model's fingerprint, or the error that prevented them."""

    cell: Cell
    measured: Measured
    fingerprint: str | None = None
    error: str = ""


class _Process:
    """The process of a language model, which loads it once for all of its cells."""

    bench: Bench

    @classmethod
    def begin(cls, model: str, settings: Settings) -> None:
        Thread(target=_end_with_parent, daemon=True).start()
        torch.set_num_threads(settings.threads)
        cls.bench = Bench(Loaded.of(model, settings.cache_tokens, settings.dtype), settings.data)

    @classmethod
    def make(cls, cell: Cell) -> Made:
        return Made(cell, cls.bench.measure(cell), cls.bench.fingerprint)


def _end_with_parent() -> None:
    """A process whose parent was killed would wait for its next cell for ever."""
    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)


def all_made(cells: Sequence[Cell], settings: Settings) -> Iterator[Made]:
    """Every cell as it ends. Raises BrokenProcessPool where a language model cannot be loaded or its process dies."""
    context = get_context("spawn")
    pools = {
        name: ProcessPoolExecutor(1, context, _Process.begin, (settings.models[name], settings))
        for name in dict.fromkeys(cell.model for cell in cells)
    }
    try:
        waiting = {pools[cell.model].submit(_Process.make, cell): cell for cell in cells}
        for done in as_completed(waiting):
            error = done.exception()
            if isinstance(error, BrokenProcessPool):
                raise error
            yield done.result() if error is None else Made(waiting[done], {}, error=repr(error))
    finally:
        for pool in pools.values():
            pool.shutdown(wait=False, cancel_futures=True)
