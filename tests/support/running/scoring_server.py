"""An inference server in a separate process, which tests kill and restart."""

import json
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from typing import Any

from tests.support.forked import end, forked

_PROGRAM = "tests.support.running.scoring_process"


@dataclass
class Server:
    """An inference server on one port, over all its processes."""

    port: int = 0
    processes: list[ForkServerProcess] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def backend(self) -> dict[str, Any]:
        """The backend's configuration."""
        return {"kind": "embedded", "url": self.url, "patience_seconds": 0.2}

    @property
    def backends(self) -> str:
        """The configuration with this backend alone."""
        return json.dumps([self.backend])

    def start(self, model: str = "twin") -> None:
        """Start the server and wait until it answers."""
        told, tell = multiprocessing.Pipe(duplex=False)
        with told:
            with tell:
                self.processes.append(forked(_PROGRAM, self.port, model, tell, environment={}))
            self.port = told.recv()

    def kill(self) -> None:
        """Kill the server."""
        for process in self.processes:
            end(process)
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
