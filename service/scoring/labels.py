"""The tokens of the labels, as the server's tokenizer makes them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from service.errors import BackendRefused
from service.scoring.http import JsonHttp
from service.search.prompt_tree import LogProbabilities

_BEFORE = "I think this claim is"  # any text will do: a label's tokens must not depend on it


@dataclass(frozen=True, slots=True)
class LabelToken:
    """One token of a label; `text` is the label up to and with it, the leading space included."""

    id: int
    text: str


Path = tuple[LabelToken, ...]


@dataclass(frozen=True)
class LabelTokens:
    """Every label as a path of tokens behind the prompt."""

    paths: tuple[Path, ...]

    @classmethod
    async def find(cls, http: JsonHttp, labels: Sequence[str]) -> Self:
        """Ask TGI's `/tokenize`. Raises BackendRefused where the tokenizer merges a label with what stands before."""
        before = await http.post("/tokenize", {"inputs": _BEFORE})
        paths = []
        for label in labels:
            whole = await http.post("/tokenize", {"inputs": f"{_BEFORE} {label}"})
            if [token["id"] for token in whole[: len(before)]] != [token["id"] for token in before]:
                raise BackendRefused(f"the tokenizer merges the label {label!r} with the text before it")
            paths.append(tuple(_label_token(label, token) for token in whole[len(before) :]))
        if len(set(map(_ids, paths))) < len(paths):
            raise BackendRefused(f"two of the labels {list(labels)} are the same tokens")
        return cls(tuple(paths))

    @property
    def calls(self) -> list[tuple[tuple[int, ...], str, list[LabelToken]]]:
        """One call for each prefix that labels share: its token ids, its text, the tokens wanted after it."""
        wanted: dict[Path, dict[LabelToken, None]] = {}
        for path in self.paths:
            for depth, token in enumerate(path):
                wanted.setdefault(path[:depth], {})[token] = None
        return [(_ids(prefix), prefix[-1].text if prefix else "", list(tokens)) for prefix, tokens in wanted.items()]

    def log_probabilities(self, known: Mapping[tuple[int, ...], Mapping[int, float]]) -> LogProbabilities:
        """Chain rule: the sum over a label's tokens of log p(token | prompt and the tokens before), nats."""
        return tuple(
            sum(known[_ids(path[:depth])][token.id] for depth, token in enumerate(path)) for path in self.paths
        )


def _ids(path: Path) -> tuple[int, ...]:
    return tuple(token.id for token in path)


def _label_token(label: str, token: Mapping[str, Any]) -> LabelToken:
    whole = f"{_BEFORE} {label}"
    return LabelToken(token["id"], whole[len(_BEFORE) : token["stop"]])
