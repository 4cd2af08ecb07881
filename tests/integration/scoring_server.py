"""An inference server that can be killed and started again, in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.integration.processes import ROOT


@dataclass
class Server:
    """An inference server on one port, whoever it is just now."""

    port: int = 0
    processes: list["subprocess.Popen[str]"] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def backend(self) -> dict[str, Any]:
        """How one is told of it."""
        return {"kind": "embedded", "url": self.url, "patience_seconds": 0.2}

    @property
    def backends(self) -> str:
        """How workers are told that there is no other."""
        return json.dumps([self.backend])

    def start(self, model: str = "twin") -> None:
        """Start it and wait until it answers."""
        command = [sys.executable, "-m", "tests.integration.scoring_process", str(self.port), model]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        self.processes.append(process)
        assert process.stdout is not None
        self.port = int(process.stdout.readline())

    def kill(self) -> None:
        """End it without any warning."""
        for process in self.processes:
            process.kill()
            process.communicate()
        self.processes.clear()


@contextmanager
def running_server() -> Iterator[Server]:
    """A server that ends with the test."""
    server = Server()
    server.start()
    try:
        yield server
    finally:
        server.kill()
