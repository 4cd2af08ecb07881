"""What fake servers have of LoRA adapters: which are loaded, whether more may be, and what each scores."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tests.servers.language_model import ToyLanguageModel, ToyTokenizer


@dataclass
class Loras:
    """Adapters that are loaded, by name; an adapter's content chooses the weights of the toy model.

    `at_run_time`: launched so that more may be loaded. `folder`: where the server sees what lies at `of_service`.
    """

    at_run_time: bool = True
    max_rank: int = 16
    folder: str = "/"
    of_service: str = "/"
    loaded: dict[str, str] = field(default_factory=dict)
    loads: int = 0

    def config_at(self, path: str) -> Mapping[str, object] | None:
        """The adapter's configuration in a folder as the server names it; None if it sees none there."""
        try:
            inside = Path(path).relative_to(self.folder)
            found: Mapping[str, object] = json.loads((self.of_service / inside / "adapter_config.json").read_bytes())
        except (OSError, ValueError):
            return None
        return found

    def load(self, name: str, path: str) -> None:
        """Load what `config_at` has found."""
        self.loads += 1
        self.loaded[name] = path

    def adapted(self, base: ToyLanguageModel, name: str | None) -> ToyLanguageModel:
        """The language model behind this name: the base, or one with weights of the adapter's own."""
        config = None if name is None else self.config_at(self.loaded.get(name, ""))
        return base if config is None else _model(base.tokenizer, 1 + int(str(config["r"])))


@cache
def _model(tokenizer: ToyTokenizer, seed: int) -> ToyLanguageModel:
    """The language model with these weights, which takes longer to make than to ask."""
    return ToyLanguageModel(tokenizer, seed=seed)
