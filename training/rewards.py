"""Give texts their rewards by a finished reward model: requests come in line by line, answers go out in their order.

The reward model stays loaded for as long as somebody holds standard input open (docs/training.md#reward-models-in-use).
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.base import Base, device_of, find_base
from training.data.tokenization import Ids
from training.errors import Refused
from training.policy.reward_models import FinishedRewardModel, RewardModel, RewardReader, find_reward_model
from training.progress import Progress
from training.spec import Device, Method


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of the command: the folder of a finished training, the base that it needs, the device."""

    folder: Path
    base: str | None = None
    device: Device = Device.AUTO


def give_rewards(asked: Asked, lines: Iterable[bytes], progress: Progress) -> None:
    """Load the reward model, tell `ready`, and answer each line until there are no more. Raises TrainingError."""
    finished = find_reward_model("DIR", str(asked.folder), Path())
    reader = RewardReader.of(finished, _base(finished, asked))
    device = device_of(asked.device)
    model = RewardModel(reader, device)
    progress.tell("ready", sha256=finished.sha256, context_tokens=reader.context_tokens, device=str(device))
    for number, line in enumerate(lines, 1):
        if line.strip():
            name, texts = _request(number, line)
            progress.tell("rewards", id=name, **_answer(model, reader, texts))
    progress.tell("end", outcome="finished")


def _base(finished: FinishedRewardModel, asked: Asked) -> Base:
    """The language model that the weights belong to: the artifact itself where all of them were trained."""
    if finished.method is Method.FULL:
        return find_base(str(finished.artifact), Path())
    if asked.base is None:
        raise Refused("--base: the reward model is an adapter; name the language model that it was trained on")
    return find_base(asked.base, Path())


def _request(number: int, line: bytes) -> tuple[str, Sequence[str]]:
    """The name of a request and its texts. Raises Refused, which names the line."""
    try:
        row = json.loads(line)
    except ValueError as error:
        raise Refused(f"standard input, line {number}: is no JSON; send an object with texts") from error
    texts = row.get("texts") if isinstance(row, dict) else None
    if not isinstance(texts, list) or not all(isinstance(text, str) and text for text in texts):
        raise Refused(f"standard input, line {number}: texts: must be a list of texts, none of them empty")
    return str(row.get("id", number)), texts


def _answer(model: RewardModel, reader: RewardReader, texts: Sequence[str]) -> dict[str, Any]:
    """The reward and the tokens of each text; null for one over the context, since nothing is cut off."""
    ids = [reader.tokenizer.ids(text) for text in texts]
    fits = [0 < len(one) <= reader.context_tokens for one in ids]
    found = iter(_rewards(model, [one for one, fit in zip(ids, fits, strict=True) if fit]))
    return {"rewards": [next(found) if fit else None for fit in fits], "tokens": [len(one) for one in ids]}


def _rewards(model: RewardModel, ids: Sequence[Ids]) -> list[float]:
    return [float(reward) for reward in model.of_tokens(ids)] if ids else []
