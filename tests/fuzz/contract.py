"""Runs schemathesis over the API's OpenAPI document, and counts requests and failures."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fuzz.served import Served

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@dataclass(frozen=True)
class Findings:
    """The findings of a run."""

    requests: Mapping[str, Mapping[str, int]]  # by operation and class of status
    failures: list[Any]
    errors: list[Any]
    is_complete: bool
    seconds: float
    text: str  # what schemathesis printed, with a command for each failure

    def table(self) -> str:
        """A table of operations with their requests and failures."""
        kinds = ("2xx", "3xx", "4xx", "5xx")
        lines = [f"{'operation':44} {'requests':>8} " + " ".join(f"{kind:>6}" for kind in kinds) + " failures"]
        for operation, counts in self.requests.items():
            cells = " ".join(f"{counts.get(kind, 0):6}" for kind in kinds)
            lines.append(f"{operation:44} {sum(counts.values()):8} {cells} {self._failed(operation):8}")
        total = sum(sum(counts.values()) for counts in self.requests.values())
        return "\n".join([*lines, f"{len(self.requests)} operations, {total} requests, {self.seconds:.0f} s"])

    def _failed(self, operation: str) -> int:
        return sum(operation in failure["operations"] for failure in self.failures)


async def fuzz(service: Served, folder: Path, *options: str, max_seconds: float = 600.0) -> Findings:
    """Run every check over every operation, for at most `max_seconds`; the folder is for reports."""
    report, tally = folder / "report.json", folder / "tally.json"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(HERE / "schemathesis.toml"), "run"),
        *(f"{service.url}/openapi.json", "--header", f"Authorization: Bearer {service.key}", "--no-color"),
        *("--report", "json", "--report-json-path", str(report)),
        *options,
        cwd=ROOT,
        env=_environment(service, tally),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        reading = asyncio.create_task(process.communicate())
        await asyncio.wait({reading}, timeout=max_seconds)
        if not reading.done():
            process.send_signal(signal.SIGINT)
        output, _ = await reading
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    text = output.decode(errors="replace")
    if not report.exists():
        raise RuntimeError(f"schemathesis did not come to an end:\n{text}")
    return _findings(json.loads(report.read_bytes()), json.loads(tally.read_bytes()), text)


def _environment(service: Served, tally: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "SCHEMATHESIS_HOOKS": "tests.fuzz.hooks",
        "FUZZ_KNOWN": json.dumps(service.known),
        "FUZZ_TALLY": str(tally),
    }


def _findings(report: Any, tally: list[tuple[str, str, int]], text: str) -> Findings:
    requests: dict[str, dict[str, int]] = {}
    for operation, kind, count in tally:
        requests.setdefault(operation, {})[kind] = count
    return Findings(
        requests=requests,
        failures=report["failures"],
        errors=report["errors"],
        is_complete=report["complete"],
        seconds=report["running_time"],
        text=text,
    )
