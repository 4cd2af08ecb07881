"""Makes parts of `icm serve` mortal, where this folder is on PYTHONPATH: Python imports it when it starts.

A worker ends by what it is asked to score (`tests.chaos.poisoned_worker`), the inference server, killed, by a prompt
that holds the word POISON.
"""

import os
import signal
import sys
from typing import Any

FATAL_TEXT = "POISON"


def _mortal_worker() -> None:
    from service.scoring import deterministic  # noqa: PLC0415 - other processes shall not load it
    from tests.chaos.poisoned_worker import FatalScorer  # noqa: PLC0415

    setattr(deterministic, "DeterministicScorer", FatalScorer)  # noqa: B010 - mypy holds an assignment for a mistake


def _mortal_inference() -> None:
    from inference.wires import tree  # noqa: PLC0415 - it loads torch

    read = tree.tree_of

    def tree_of(body: Any) -> Any:
        if FATAL_TEXT in body.model_dump_json():
            os.kill(os.getpid(), signal.SIGKILL)
        return read(body)

    tree.tree_of = tree_of


_PARTS = {"workers": _mortal_worker, "inference": _mortal_inference}
_MODULE = sys.orig_argv[sys.orig_argv.index("-m") + 1] if "-m" in sys.orig_argv[:-1] else ""
_PARTS.get(_MODULE, lambda: None)()
