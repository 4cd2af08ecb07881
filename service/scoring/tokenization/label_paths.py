"""Finds the tokens of one spelling of a label behind a prompt, and the separator tokens that end it."""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from service.scoring.calls.gather import together
from service.scoring.wires.wire import Token

Encode = Callable[[str], Coroutine[Any, Any, Sequence[Token]]]
Ids = tuple[int, ...]

# Possible beginnings of the next demonstration: some tokenizers split white space by the character behind it.
_NEXT_DEMONSTRATIONS = ("The", "7", '"')


@dataclass(frozen=True, slots=True)
class LabelToken:
    """One token of a spelling; `text` is the spelling up to the token's end, including a leading space.

    If the server does not say where the token ends, `text` is the whole spelling. For a separator token that
    ends the spelling, `text` includes the separator up to there.
    """

    id: int
    text: str


Path = tuple[LabelToken, ...]


@dataclass(frozen=True, slots=True)
class EndedPath:
    """A spelling's tokens plus the separator's; at least the first `least` are needed to go past the spelling's end."""

    path: Path
    least: int

    def first(self, count: int) -> Path:
        """The first `count` tokens. Raises Unusable if there are fewer."""
        if count > len(self.path):
            raise Unusable(
                "with the separator behind it, it reads as another label begins; take another separator or other labels"
            )
        return self.path[:count]


class Unusable(Exception):
    """A spelling cannot be scored behind the prompt; the message says why."""


@dataclass(frozen=True, slots=True)
class PathFinder:
    """Finds paths behind the text `before` with the tokens `before_ids`; `as_text` if prompts are sent as text."""

    encode: Encode
    before: str
    before_ids: Ids
    separator: str
    as_text: bool

    async def path(self, spelling: str) -> Path:
        """The spelling's tokens. Raises Unusable if they merge with the text before, or cannot be sent as text."""
        whole = self.before + spelling
        tokens = self._behind(await self.encode(whole))
        if not tokens:
            raise Unusable(
                f"the tokenizer merges it with the text before it, {self.before[-24:]!r}; "
                "let the template end differently, or take another label"
            )
        path = self._path(whole, tokens)
        await self.check_sendable(path)
        return path

    async def ended_path(self, spelling: str, own: Path) -> EndedPath:
        """The tokens of the spelling and the separator behind it, as far as they do not depend on the text after that.

        If the tokenizer merges the spelling's end with the separator, the merged token ends it. Raises Unusable.
        """
        whole = self.before + spelling + self.separator
        tokens = self._behind(await self._whatever_follows(whole))
        least = _least(tokens, own, len(self.before) + len(spelling))
        if len(tokens) < least or ids_of(tokens[:least]) == ids_of(own[:least]):
            raise Unusable(
                f"another label begins with it, and no token of the separator {self.separator!r} ends it whatever "
                "demonstration follows; take another separator or other labels"
            )
        return EndedPath(self._path(whole, tokens), least)

    async def check_sendable(self, path: Path) -> None:
        """Raises Unusable if prompts are sent as text and some prefix of the path has other tokens by itself."""
        for depth in range(1, len(path) if self.as_text else 0):
            text = path[depth - 1].text
            tokens = await self.encode(self.before + text)
            if ids_of(tokens) != (*self.before_ids, *ids_of(path[:depth])):
                raise Unusable(f"as text, {text!r} has other tokens than as a beginning of it")

    def _behind(self, tokens: Sequence[Token]) -> Sequence[Token]:
        """The tokens behind those of `before`; none if the tokens of `before` have changed."""
        start = len(self.before_ids)
        return tokens[start:] if ids_of(tokens[:start]) == self.before_ids else ()

    def _path(self, whole: str, tokens: Sequence[Token]) -> Path:
        if self.as_text and len(tokens) > 1 and any(token.end is None for token in tokens):
            raise Unusable("it has several tokens, and the server does not say where in the text they end")
        return tuple(LabelToken(token.id, whole[len(self.before) : token.end]) for token in tokens)

    async def _whatever_follows(self, text: str) -> Sequence[Token]:
        """The first tokens of the text that are the same whatever demonstration follows."""
        first, *others = await together(self.encode(text + following) for following in _NEXT_DEMONSTRATIONS)
        columns = takewhile(lambda column: len(set(ids_of(column))) == 1, zip(first, *others, strict=False))
        return [token for token, *_ in columns if token.end is None or token.end <= len(text)]


def ids_of(tokens: Sequence[Token | LabelToken]) -> Ids:
    """The tokens' ids."""
    return tuple(token.id for token in tokens)


def _least(tokens: Sequence[Token], own: Path, end: int) -> int:
    """The number of these tokens that reach past a spelling that ends at this character.

    It is all of them if the tokenizer merges the end with the separator and the server reports no offsets.
    """
    if ids_of(tokens[: len(own)]) == ids_of(own):
        return len(own) + 1
    if any(token.end is None for token in tokens):
        return max(1, len(tokens))
    return 1 + sum(1 for token in tokens if token.end is not None and token.end <= end)
