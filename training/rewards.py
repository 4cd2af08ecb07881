"""Score texts by a finished reward model: read requests line by line, and write the answers in their order.

The reward model stays loaded while standard input is open (docs/training.md#reward-models-in-use).
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.base import Base, device_of, find_base
from training.errors import Refused
from training.policy.reward_models import FinishedRewardModel, LoadedRewardModel, RewardReader, find_reward_model
from training.progress import Progress
from training.spec import Device, Method


@dataclass(frozen=True, slots=True)
class RewardOptions:
    """The command's arguments: the folder of a finished training, the base of an adapter, the device."""

    folder: Path
    base: str | None = None
    device: Device = Device.AUTO


def answer_requests(options: RewardOptions, lines: Iterable[bytes], progress: Progress) -> None:
    """Load the reward model, write the event `ready`, and answer each line until input ends. Raises TrainingError."""
    finished = find_reward_model("DIR", str(options.folder), Path())
    reader = RewardReader.of(finished, _base(finished, options))
    device = device_of(options.device)
    model = LoadedRewardModel(reader, device)
    progress.tell("ready", sha256=finished.sha256, context_tokens=reader.context_tokens, device=str(device))
    for number, line in enumerate(lines, 1):
        if line.strip():
            name, texts = _request(number, line)
            progress.tell("rewards", id=name, **_answer(model, reader, texts))
    progress.tell("end", outcome="finished")


def _base(finished: FinishedRewardModel, options: RewardOptions) -> Base:
    """The language model that the weights belong to: the artifact itself if all weights were trained."""
    if finished.method is Method.FULL:
        return find_base(str(finished.artifact), Path())
    if options.base is None:
        raise Refused("--base: the reward model is an adapter; name the language model that it was trained on")
    return find_base(options.base, Path())


def _request(number: int, line: bytes) -> tuple[str, Sequence[str]]:
    """The name of a request and its texts. Raises Refused, which names the line."""
    try:
        row = json.loads(line)
    except ValueError as error:
        raise Refused(f"standard input, line {number}: is not JSON; send an object with texts") from error
    texts = row.get("texts") if isinstance(row, dict) else None
    if not isinstance(texts, list) or not all(isinstance(text, str) and text for text in texts):
        raise Refused(f"standard input, line {number}: texts: must be a list of texts, none of them empty")
    return str(row.get("id", number)), texts


def _answer(model: LoadedRewardModel, reader: RewardReader, texts: Sequence[str]) -> dict[str, Any]:
    """The reward and the tokens of each text. A text over the context is not cut off: its reward is null."""
    ids = [reader.tokenizer.ids(text) for text in texts]
    fits = [0 < len(one) <= reader.context_tokens for one in ids]
    rewards = iter(model.of_tokens([one for one, fit in zip(ids, fits, strict=True) if fit]))
    return {"rewards": [float(next(rewards)) if fit else None for fit in fits], "tokens": [len(one) for one in ids]}
