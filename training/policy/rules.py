"""Decides from the trainer's log when a policy's training stops early, and which epoch's policy to keep; pure."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

Log = Sequence[Mapping[str, Any]]
KL_STEPS = 5  # steps to average over, since one step's KL divergence is noisy
_STANDARD_ERRORS = 2.0  # a smaller fall of the held-out reward may be chance


def ends_early(log: Log, kl_limit: float) -> str | None:
    """The reason to stop after the newest entry; None to continue."""
    steps = [entry["kl_nats"] for entry in log if entry.get("kl_nats") is not None]
    if len(steps) >= KL_STEPS and (drift := fmean(steps[-KL_STEPS:])) > kl_limit:
        return f"the KL divergence of the last {KL_STEPS} steps is {drift:.2f} nats, over kl_limit {kl_limit:g}"
    measured = measurements(log)
    if not measured:
        return None
    newest = measured[-1]
    if newest["kl_nats"] > kl_limit:
        return f"the KL divergence on held-out prompts is {newest['kl_nats']:.2f} nats, over kl_limit {kl_limit:g}"
    best = max(measured, key=lambda one: float(one["reward"]))
    noise = _STANDARD_ERRORS * math.hypot(best["reward_standard_error"], newest["reward_standard_error"])
    if best["reward"] - newest["reward"] > noise:
        return f"the reward on held-out prompts fell from {best['reward']:.3f} to {newest['reward']:.3f}"
    return None


def measurements(log: Log) -> list[dict[str, Any]]:
    """The evaluations on held-out prompts, each with its epoch."""
    return [{"epoch": entry["epoch"], **entry["evaluation"]["held_out"]} for entry in log if "evaluation" in entry]


def best_epoch(log: Log, kl_limit: float) -> int | None:
    """The epoch with the highest held-out reward among those within the KL limit; None if there is none."""
    within = [one for one in measurements(log) if one["kl_nats"] <= kl_limit]
    if not within:
        return None
    return int(max(within, key=lambda one: float(one["reward"]))["epoch"])
