"""Finds and checks finished reward models, and loads them to compute rewards of texts."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from training.artifacts import MANIFEST, content_hash
from training.base import Base, context_tokens, find_base, load_module, load_tokenizer
from training.data.tokenization import Ids, RowTokenizer
from training.errors import Refused
from training.kinds.preference import Floats
from training.kinds.reward_training import rewards_of
from training.spec import Kind, Method, Spec


@dataclass(frozen=True, slots=True)
class FinishedRewardModel:
    """A finished reward model on the disk; `field`, of the specification or the command line, names it."""

    field: str
    artifact: Path
    sha256: str
    method: Method
    base_fingerprint: str
    pad: int


def find_reward_models(spec: Spec, beside: Path) -> dict[str, FinishedRewardModel]:
    """The reward model and the judge that a specification names, by their fields. Raises Refused."""
    if spec.policy is None:
        return {}
    named = {"reward": spec.policy.reward, "judge": spec.policy.judge}
    found = {
        field: find_reward_model(f"policy.{field}", name, beside) for field, name in named.items() if name is not None
    }
    if "judge" in found and found["judge"].sha256 == found["reward"].sha256:
        raise Refused("policy.judge: is the reward model itself; name one that takes no part in the training")
    return found


def find_reward_model(field: str, named: str, beside: Path) -> FinishedRewardModel:
    """The finished training of kind reward in the folder `named`, relative to `beside`. Raises Refused."""
    folder = beside / Path(named).expanduser()
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text("utf-8"))
        kind, entry = manifest["settings"]["kind"], manifest["artifact"]
        method, base = Method(manifest["settings"]["method"]), manifest["base"]["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused(
            f"{field}: {named!r} holds no finished training; name the folder that `--out` named when a "
            "reward model was trained"
        ) from error
    if kind != Kind.REWARD:
        raise Refused(f"{field}: {named!r} holds a training of kind {kind}; name one of kind reward")
    artifact = folder / entry["folder"]
    if not artifact.is_dir() or content_hash(artifact) != entry["sha256"]:
        raise Refused(f"{field}: the reward model in {named!r} is not as it was written; train it again")
    return FinishedRewardModel(field, artifact, entry["sha256"], method, base, manifest["examples"]["pad_token_id"])


@dataclass(frozen=True, slots=True)
class RewardReader:
    """Tokenises texts for a reward model and checks that they fit its context, before its weights are loaded."""

    finished: FinishedRewardModel
    base: Base
    tokenizer: RowTokenizer
    context_tokens: int

    @classmethod
    def of(cls, finished: FinishedRewardModel, policy_base: Base) -> "RewardReader":
        """The reader of a finished reward model. Raises Refused and BaseUnusable."""
        base = _base_of(finished, policy_base)
        tokens = context_tokens(base)
        return cls(finished, base, RowTokenizer(load_tokenizer(base), tokens), tokens)

    def ids(self, text: str) -> Ids:
        """A text's tokens. Raises Refused if they are too many."""
        ids = self.tokenizer.ids(text)
        self._check(text, len(ids))
        return ids

    def check_room(self, prompts: Sequence[str], completion_tokens: int) -> None:
        """Check that every prompt fits the context with a completion of `completion_tokens`. Raises Refused."""
        for prompt in prompts:
            self._check(prompt, len(self.tokenizer.ids(prompt)) + completion_tokens)

    def _check(self, text: str, tokens: int) -> None:
        if tokens > self.context_tokens:
            raise Refused(
                f"{self.finished.field}: reads {self.context_tokens} tokens at once, and the prompt that begins "
                f"{text[:40]!r} takes {tokens} with its completion; shorten it or lower policy.completion_tokens"
            )


class LoadedRewardModel:
    """Computes the rewards of texts. A reward does not depend on the other texts of its batch, except for rounding."""

    def __init__(self, reader: RewardReader, device: torch.device) -> None:
        module = load_module(reader.base, Kind.REWARD, Method.FULL, device)
        if reader.finished.method is Method.LORA:
            module = PeftModel.from_pretrained(module, reader.finished.artifact)
        self._module = module.eval().requires_grad_(requires_grad=False)
        self._reader = reader

    def rewards(self, texts: Sequence[str]) -> Floats:
        """The reward of each text. Raises Refused for a text over the reward model's context."""
        return self.of_tokens([self._reader.ids(text) for text in texts])

    def of_tokens(self, ids: Sequence[Ids]) -> Floats:
        """The reward of each text by its tokens, which must fit the reward model's context."""
        return rewards_of(self._module, ids, pad=self._reader.finished.pad, check=lambda: None)


def _base_of(finished: FinishedRewardModel, base: Base) -> Base:
    """The base of a reward model: itself if all its weights were trained, else the policy's base. Raises Refused."""
    if finished.method is Method.FULL:
        return find_base(str(finished.artifact), Path())
    if finished.base_fingerprint != base.fingerprint:
        raise Refused(
            f"{finished.field}: this reward model is an adapter of another base than {base.name!r}; "
            "name one that was trained on that base, or one of method full"
        )
    return base
