"""Stores what this release leaves behind: `python -m tests.golden.make v0.1`, once for each release.

A folder that is there already is never written over: its files are what a release has promised will be gone on with.
"""

import asyncio
import base64
import sys
from pathlib import Path
from typing import Any

from service.records.access import LOCAL_CALLER
from tests.golden.case import (
    CONFIGS,
    HERE,
    Golden,
    StoppingScorer,
    claimed,
    given_back,
    result_lines,
    run,
    submitted,
)
from tests.support.memory import MemoryStore
from tests.support.running.harness import pairs

ROWS = 12


async def made(config: dict[str, Any], rows: list[dict[str, Any]]) -> Golden:
    """Run the job once to the end, and once up to the middle."""
    whole, counting = MemoryStore(), StoppingScorer()
    job_id = await submitted(whole, config, rows)
    await run(whole, counting)
    half = MemoryStore()
    half_id = await submitted(half, config, rows)
    await run(half, StoppingScorer(counting.calls // 3), checkpoint_seconds=0.0)
    shard = await claimed(half)
    await given_back(half, shard)
    if shard.checkpoint is None:
        raise RuntimeError("nothing was stored half-way")
    async with half.project_unit(LOCAL_CALLER) as unit:
        states = [row.state async for row in unit.labels.result(half_id)]
    return Golden(
        config=config,
        rows=rows,
        checkpoint=base64.b64encode(shard.checkpoint).decode(),
        labels=[[s.position, s.label, s.confidence, s.margin, s.status.value] for s in states],
        result=await result_lines(whole, job_id),
    )


def make(folder: Path) -> None:
    """Write one file for each strategy and baseline. Raises FileExistsError."""
    rows = [{"id": row["id"], "a": row["a"], "b": row["b"]} for row in pairs(ROWS)]
    folder.mkdir()
    for name, config in CONFIGS.items():
        asyncio.run(made(config, rows)).write(folder / f"{name}.json")


if __name__ == "__main__":
    [_, release] = sys.argv
    make(HERE / release)
