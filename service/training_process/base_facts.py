"""Reads what a base's own files say of it, without the libraries that load it."""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# As training/base.py has them.
_CONTEXT_FIELDS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
_WIDTH_FIELDS = ("hidden_size", "n_embd", "d_model")


class FactsOfFolder:
    """The facts of the language model in a folder. Raises OSError and ValueError if its configuration is unreadable."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        config = json.loads((folder / "config.json").read_text("utf-8"))
        self._config: Mapping[str, Any] = config.get("text_config") or config

    @property
    def context_tokens(self) -> int | None:
        """The context; None if the configuration does not say."""
        return self._first(_CONTEXT_FIELDS)

    @property
    def hidden_size(self) -> int | None:
        """The width of its layers; None if the configuration does not say."""
        return self._first(_WIDTH_FIELDS)

    def tokens(self, text: str, *, special: bool) -> Sequence[int] | None:
        """The text's tokens, with those that begin every text if `special`; None without its tokenizer here."""
        if self._tokenizer is None:
            return None
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=special).ids
        return ids

    @cached_property
    def _tokenizer(self) -> Any:
        file = self._folder / "tokenizer.json"
        if not file.is_file() or find_spec("tokenizers") is None:
            return None
        try:
            return import_module("tokenizers").Tokenizer.from_file(str(file))
        except Exception:  # noqa: BLE001 - the library raises this class itself; the training names the fault
            return None

    def _first(self, names: Sequence[str]) -> int | None:
        return next((value for name in names if isinstance(value := self._config.get(name), int)), None)
