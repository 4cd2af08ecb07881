"""The tokens of the labels, as the server's tokenizer makes them.

With all spellings, the probability of a label is the sum over the token paths of its spellings.
The authors' code sums likewise, over those of the 20 likeliest tokens that hold "true" in any case.
"""

import math
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from service.errors import BackendRefused
from service.scoring.together import together
from service.scoring.wire import Token
from service.search.prompt_tree import LogProbabilities

Encode = Callable[[str], Awaitable[Sequence[Token]]]
Ids = tuple[int, ...]

_BEFORE = "I think this claim is"  # any word will do; a label's tokens may depend on what follows it
ENDING_CHARACTERS = 16


@dataclass(frozen=True, slots=True)
class LabelToken:
    """One token of a spelling; `text` is the spelling up to and with it, a leading space included.

    Where a server does not say where a token ends, it is the whole spelling.
    """

    id: int
    text: str


Path = tuple[LabelToken, ...]


@dataclass(frozen=True, slots=True)
class LabelCall:
    """One call: what is sent behind the prompt, as ids and as text, and the tokens wanted after it."""

    ids: Ids
    text: str
    wanted: tuple[LabelToken, ...]

    @property
    def wanted_ids(self) -> list[int]:
        """The wanted tokens' ids."""
        return [token.id for token in self.wanted]


@dataclass(frozen=True, slots=True)
class LabelTokens:
    """Every label as the paths of tokens that its spellings take behind the prompt."""

    paths: tuple[tuple[Path, ...], ...]
    calls: tuple[LabelCall, ...]  # one for each beginning that paths share, the empty one first

    def log_probabilities(self, known: Mapping[Ids, Mapping[int, float]]) -> LogProbabilities:
        """Log-probability of each label in nats, `known` having those after each call's ids.

        Chain rule along a path: the sum over its tokens of log p(token | prompt and the tokens
        before); over the paths of a label, the logarithm of the sum of probabilities.
        """
        return tuple(_log_sum([_chain(path, known) for path in paths]) for paths in self.paths)


def ending(prompt: str) -> str:
    """What the tokens of a label depend on: the characters behind a prompt's last letter or digit, a few at most."""
    length = 0
    while length < min(len(prompt), ENDING_CHARACTERS) and not prompt[-1 - length].isalnum():
        length += 1
    return prompt[len(prompt) - length :]


def spellings_of(label: str) -> list[str]:
    """As it is, in lower case, in upper case, with a capital: each with a space before it, then each without."""
    cases = dict.fromkeys((label, label.lower(), label.upper(), label.capitalize()))
    return [*(f" {spelling}" for spelling in cases), *cases]


async def find_label_tokens(
    encode: Encode, labels: Sequence[str], behind: str = "", *, all_spellings: bool = False, as_text: bool = False
) -> LabelTokens:
    """The labels' tokens behind prompts that end so (see `ending`), to be sent as ids or `as_text`.

    Another spelling than the label's own is left out where the tokenizer merges it with the text
    before it. Raises BackendRefused where it does so with the label's own, or where two labels
    share a path, and BackendUnavailable.
    """
    finder = _Finder(encode, _BEFORE + behind, [token.id for token in await encode(_BEFORE + behind)], as_text)
    owners: dict[Ids, int] = {}
    paths = await together(finder.paths(label, all_spellings=all_spellings) for label in labels)
    for number, own in enumerate(paths):
        for path in own:
            first = owners.setdefault(_ids(path), number)
            if first != number:
                raise BackendRefused(_shared(labels[first], labels[number], path, all_spellings=all_spellings))
    return LabelTokens(tuple(paths), tuple(_calls(paths)))


class _Unusable(Exception):
    """A spelling has no tokens of its own behind the prompt."""


@dataclass(frozen=True, slots=True)
class _Finder:
    encode: Encode
    before: str
    before_ids: list[int]
    as_text: bool

    async def paths(self, label: str, *, all_spellings: bool) -> tuple[Path, ...]:
        own, *others = spellings_of(label) if all_spellings else [f" {label}"]
        try:
            found = [await self._path(own)]
        except _Unusable as error:
            raise BackendRefused(f"the label {label!r} cannot be scored: {error}") from error
        for spelling in others:
            with suppress(_Unusable):
                found.append(await self._path(spelling))
        return tuple({_ids(path): path for path in found}.values())

    async def _path(self, spelling: str) -> Path:
        """The spelling's tokens. Raises _Unusable where they change those before them or, sent as text, one another."""
        whole = self.before + spelling
        tokens = await self.encode(whole)
        start = len(self.before_ids)
        if [token.id for token in tokens[:start]] != self.before_ids or len(tokens) == start:
            raise _Unusable(
                f"the tokenizer merges it with the text before it, {self.before[-24:]!r}; "
                "let the template end differently, or take another label"
            )
        if self.as_text and len(tokens) > start + 1 and any(token.end is None for token in tokens):
            raise _Unusable("it has several tokens, and the server does not say where in the text they end")
        path = tuple(LabelToken(token.id, whole[len(self.before) : token.end]) for token in tokens[start:])
        for depth in range(1, len(path) if self.as_text else 0):
            if not await self._stands_alone(path[:depth]):
                raise _Unusable(f"as text, {path[depth - 1].text!r} has other tokens than as a beginning of it")
        return path

    async def _stands_alone(self, beginning: Path) -> bool:
        """Whether the text of a path's beginning has its tokens: else a call could not send it."""
        tokens = await self.encode(self.before + beginning[-1].text)
        return [token.id for token in tokens] == [*self.before_ids, *_ids(beginning)]


def _calls(paths: Sequence[Sequence[Path]]) -> Iterator[LabelCall]:
    texts: dict[Ids, str] = {}
    wanted: dict[Ids, dict[int, LabelToken]] = {}
    for path in (path for own in paths for path in own):
        for depth, token in enumerate(path):
            beginning = _ids(path[:depth])
            texts.setdefault(beginning, path[depth - 1].text if depth else "")
            wanted.setdefault(beginning, {})[token.id] = token
    for beginning, tokens in wanted.items():
        yield LabelCall(beginning, texts[beginning], tuple(tokens.values()))


def _shared(one: str, other: str, path: Path, *, all_spellings: bool) -> str:
    if not all_spellings:
        return f"the labels {one!r} and {other!r} are the same tokens"
    return f"the spelling {path[-1].text!r} belongs to two labels, {one!r} and {other!r}: score without all_spellings"


def _ids(path: Path) -> Ids:
    return tuple(token.id for token in path)


def _chain(path: Path, known: Mapping[Ids, Mapping[int, float]]) -> float:
    ids = _ids(path)
    return sum(known[ids[:depth]][token] for depth, token in enumerate(ids))


def _log_sum(values: Sequence[float]) -> float:
    """log(sum(exp(values)))."""
    if len(values) == 1:
        return values[0]
    top = max(values)
    return top + math.log(sum(math.exp(value - top) for value in values))
