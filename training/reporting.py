"""The report of a run: evaluations before and after, curves, cost, and the controls' results."""

import resource
import sys
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import torch

from training.optimisation.watcher import Log


def summary(log: Log, figures: Sequence[str] = ()) -> dict[str, Any]:
    """A training in numbers: the loss by step, the evaluation after each epoch, and the cost.

    `figures` names further figures of the steps to draw as curves. With them comes the reason of an early end.
    """
    steps = [entry for entry in log if "loss" in entry]
    measured = [{"epoch": entry["epoch"], **entry["evaluation"]} for entry in log if "evaluation" in entry]
    last = steps[-1]
    tokens, seconds = int(last["num_input_tokens_seen"]), last["seconds"]
    curves = {name: [[entry["step"], entry[name]] for entry in steps] for name in figures}
    ended = next((entry["ended_early"] for entry in log if "ended_early" in entry), None)
    return {
        **({"curves": curves, "ended_early": ended} if figures else {}),
        "steps": last["step"],
        "loss": [[entry["step"], entry["loss"]] for entry in steps],
        "first_epoch_nats": fmean(entry["loss"] for entry in steps if entry["epoch"] <= 1),
        "epochs": measured,
        "tokens": tokens,
        "seconds": round(seconds, 3),
        "cpu_seconds": round(last["cpu_seconds"], 3),
        "tokens_per_second": round(tokens / max(seconds, 1e-9), 1),
    }


def peak_memory() -> dict[str, int | None]:
    """The peak memory of this process in bytes: of the machine, and of a GPU if it used one."""
    unit = 1 if sys.platform == "darwin" else 1024
    gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    return {"bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, "gpu_bytes": gpu or None}


def polarity(training: Mapping[str, Any], inverted: Mapping[str, Any]) -> dict[str, Any]:
    """Which labels the model learns faster: mean loss in nats of each label in the first epoch, before learning it."""
    found, other = training["first_epoch_nats"], inverted["first_epoch_nats"]
    return {"found_nats": found, "inverted_nats": other, "faster": "found" if found < other else "inverted"}
