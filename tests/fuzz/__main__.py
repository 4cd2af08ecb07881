"""The long form of the fuzz test: `make fuzz`, or `python -m tests.fuzz --examples 1000 --seed 7`."""

import argparse
import asyncio
import secrets
import shutil
import sys
import tempfile
import uuid
from pathlib import Path

from icm.local_stack.embedded_postgres import EmbeddedPostgres, reachable_root
from migrations.commands import upgrade
from tests.fuzz.contract import Findings, fuzz
from tests.fuzz.served import served

EXAMPLES = 1_000  # for each operation and phase
LONGEST_SECONDS = 7_200.0


def main() -> int:
    """Fuzz a service; returns exit code 1 if anything was found."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--examples", type=int, default=EXAMPLES)
    options.add_argument("--seed", type=int, default=secrets.randbits(32))
    chosen = options.parse_args()
    print(f"seed {chosen.seed}, {chosen.examples} examples for each operation", flush=True)  # noqa: T201 - a command
    found = asyncio.run(_fuzzed(chosen.examples, chosen.seed))
    is_clean = found.is_complete and not found.failures and not found.errors
    print(found.table() if is_clean else f"{found.text}\n{found.table()}")  # noqa: T201
    return 0 if is_clean else 1


async def _fuzzed(examples: int, seed: int) -> Findings:
    root = reachable_root(Path(tempfile.gettempdir()) / f"icm-fuzz-{uuid.uuid4().hex[:12]}")
    reports = Path(tempfile.mkdtemp(prefix="icm-fuzz-reports-"))
    try:
        with EmbeddedPostgres(root, durable=False) as server:
            await upgrade(server.url)
            async with served(server.url, reports / "api.log") as service:
                chosen = ("--max-examples", str(examples), "--seed", str(seed), "--continue-on-failure")
                return await fuzz(service, reports, *chosen, max_seconds=LONGEST_SECONDS)
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
