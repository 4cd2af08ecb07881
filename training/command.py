"""The command line of `python -m training`: runs a training or scores texts.

Each way to end has an exit status (docs/training.md).
"""

import argparse
import errno
import os
import re
import sys
import traceback
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path

import torch
from transformers.utils import logging

from training.errors import Stopped, TrainingError
from training.progress import Progress
from training.rewards import RewardOptions, answer_requests
from training.run import Options, run
from training.spec import Device
from training.supervision import StopRequest, locked

FAILED = 1
_NO_ROOM = "the disk is full: free some room for the output folder, and run the command again to resume"
_FULL = (errno.ENOSPC, errno.EDQUOT)
# How the libraries that write weights tell it: safetensors by the system's number, torch by no reason.
_FULL_IN_WORDS = re.compile(r"\(os error (28|122)\)|PytorchStreamWriter failed writing")


def main(progress: Progress, stop: StopRequest, arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    given = read_arguments(arguments)
    torch.set_num_threads(given.threads)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
    try:
        given.do(given, progress, stop)
    except TrainingError as error:
        outcome = "stopped" if isinstance(error, Stopped) else "failed"
        return _ended(progress, outcome, str(error), error.exit_code)
    except (MemoryError, torch.OutOfMemoryError):
        return _ended(progress, "failed", "memory does not suffice: set rows_at_once, or a lower one", FAILED)
    except Exception as error:  # noqa: BLE001 - the supervisor gets an event for every end
        if _is_no_room(error):
            return _ended(progress, "failed", _NO_ROOM, FAILED)
        traceback.print_exc()
        return _ended(progress, "failed", f"unexpected: {' '.join(str(error).split())}", FAILED)
    return 0


def _train(given: argparse.Namespace, progress: Progress, stop: StopRequest) -> None:
    with _held(given.out):
        run(given.spec, Options(given.out, download=given.download), progress, stop)


def _reward(given: argparse.Namespace, progress: Progress, stop: StopRequest) -> None:
    stop.end_at_once()  # it has nothing to save between two lines
    options = RewardOptions(given.folder, given.base, Device(given.device))
    answer_requests(options, sys.stdin.buffer, progress)


def _is_no_room(error: Exception) -> bool:
    """Whether a file could not be written because the disk or the quota is full."""
    if isinstance(error, OSError):
        return error.errno in _FULL
    return _FULL_IN_WORDS.search(str(error)) is not None


def _held(folder: Path) -> AbstractContextManager[None]:
    """Lock the folder; of several processes of one run, the first does so."""
    return locked(folder) if os.environ.get("RANK", "0") == "0" else nullcontext()


def _ended(progress: Progress, outcome: str, reason: str, status: int) -> int:
    sys.stderr.write(f"{reason}\n")
    with suppress(TrainingError):  # the reader has closed the stream
        progress.tell("end", outcome=outcome, reason=reason, status=status)
    return status


def read_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; --help ends the process, and a mistake ends it with status 2."""
    parser = argparse.ArgumentParser(prog="python -m training", description="Train a language model on labels.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_run(commands.add_parser("run", help="train by a specification; run it again to resume"))
    _add_rewards(commands.add_parser("rewards", help="give texts their rewards, line by line of standard input"))
    return parser.parse_args(arguments)


def _add_run(command: argparse.ArgumentParser) -> None:
    command.set_defaults(do=_train)
    command.add_argument("spec", type=Path, metavar="SPEC.json", help="what to train (docs/training.md)")
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for this training alone")
    _add_threads(command)
    command.add_argument(
        "--download", action="store_true", help="download the base from the Hugging Face hub if necessary"
    )


def _add_rewards(command: argparse.ArgumentParser) -> None:
    command.set_defaults(do=_reward)
    command.add_argument("folder", type=Path, metavar="DIR", help="the folder that `run --out` wrote for kind reward")
    command.add_argument("--base", help="the base of the adapter, by folder or hub name; method full needs none")
    command.add_argument("--device", choices=[device.value for device in Device], default=Device.AUTO.value)
    _add_threads(command)


def _add_threads(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--threads", type=_count, default=1, help="threads of torch on the CPU; more than 1 gives other bytes"
    )


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)
