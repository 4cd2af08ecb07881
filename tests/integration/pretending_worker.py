"""A worker whose trainings are pretended: the door and the supervision are real, the process trains nothing."""

import sys
from functools import partial
from pathlib import Path
from unittest.mock import patch

from service.records.work import WorkKind
from workers import __main__ as door
from workers.handlers import HANDLERS
from workers.training import TrainHandler

PRETENDER = (sys.executable, "-S", str(Path(__file__).parents[1] / "unit" / "training_process" / "pretender.py"))


def main() -> None:
    """Work until stopped."""
    with patch.dict(HANDLERS, {WorkKind.TRAIN: partial(TrainHandler, program=PRETENDER)}):
        door.main()
