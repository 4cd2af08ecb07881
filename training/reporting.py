"""The report of a run: measured before and after, curves, cost, and what the controls say."""

import resource
import sys
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import torch

from training.optimisation.watcher import Log


def summary(log: Log, figures: Sequence[str] = ()) -> dict[str, Any]:
    """A training in numbers: the loss by step, what was measured behind each epoch, and what it cost.

    With `figures` of the steps there are curves of them, and the reason of an early end, if there was one.
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
    """The most memory that this process had, in bytes: of the machine, and of the GPU where one was used."""
    unit = 1 if sys.platform == "darwin" else 1024
    gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    return {"bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, "gpu_bytes": gpu or None}


def polarity(training: Mapping[str, Any], inverted: Mapping[str, Any]) -> dict[str, Any]:
    """Which labels are learned faster: mean nats paid for each label in the first epoch, just before it is learned."""
    found, other = training["first_epoch_nats"], inverted["first_epoch_nats"]
    return {"found_nats": found, "inverted_nats": other, "faster": "found" if found < other else "inverted"}
