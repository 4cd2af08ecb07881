"""The tokens of the labels, as the server's tokenizer makes them.

With all spellings, the probability of a label is the sum over the token paths of its spellings.
The authors' code sums likewise, over those of the 20 likeliest tokens that hold "true" in any case.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from service.errors import BackendRefused
from service.scoring.calls.gather import together
from service.scoring.tokenization.label_ends import Spelling, told_apart
from service.scoring.tokenization.label_paths import Encode, Ids, LabelToken, Path, PathFinder, Unusable, ids_of
from service.search.predictions.prompt_tree import LogProbabilities

_BEFORE = "I think this claim is"  # any word will do; a label's tokens may depend on what follows it (see `ending`)


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


def spellings_of(label: str) -> list[str]:
    """As it is, in lower case, in upper case, with a capital: each with a space before it, then each without."""
    cases = dict.fromkeys((label, label.lower(), label.upper(), label.capitalize()))
    return [*(f" {spelling}" for spelling in cases), *cases]


async def find_label_tokens(
    encode: Encode,
    labels: Sequence[str],
    behind: str = "",
    *,
    separator: str = "",
    all_spellings: bool = False,
    as_text: bool = False,
) -> LabelTokens:
    """The labels' tokens behind prompts that end so (see `ending`), to be sent as ids or `as_text`.

    A label that another one begins with is read to its end, which the `separator` makes (see label_ends.py);
    without one it is not. Another spelling than the label's own is left out where the tokenizer merges it with the
    text before it. Raises BackendRefused where it does so with the label's own, where two labels
    share a path, or where a label cannot be ended, and BackendUnavailable.
    """
    before = _BEFORE + behind
    finder = PathFinder(encode, before, ids_of(await encode(before)), separator, as_text)
    each = [_spellings(finder, number, label, all_spellings=all_spellings) for number, label in enumerate(labels)]
    spellings = [spelling for own in await together(each) for spelling in own]
    _check_distinct(labels, spellings, all_spellings=all_spellings)
    if separator:
        spellings = await told_apart(finder, spellings)
    paths = [tuple(one.path for one in spellings if one.label == number) for number in range(len(labels))]
    return LabelTokens(tuple(paths), tuple(_calls(paths)))


async def _spellings(finder: PathFinder, number: int, label: str, *, all_spellings: bool) -> list[Spelling]:
    """The label's spellings, each path once, its own spelling first. Raises BackendRefused."""
    own, *others = spellings_of(label) if all_spellings else [f" {label}"]
    try:
        found = [Spelling(number, own, await finder.path(own), is_own=True)]
    except Unusable as error:
        raise BackendRefused(f"the label {label!r} cannot be scored: {error}") from error
    for text in others:
        with suppress(Unusable):
            path = await finder.path(text)
            if ids_of(path) not in [ids_of(spelling.path) for spelling in found]:
                found.append(Spelling(number, text, path, is_own=False))
    return found


def _check_distinct(labels: Sequence[str], spellings: Sequence[Spelling], *, all_spellings: bool) -> None:
    """Raises BackendRefused where two labels share a path."""
    owners: dict[Ids, int] = {}
    for spelling in spellings:
        first = owners.setdefault(ids_of(spelling.path), spelling.label)
        if first != spelling.label:
            one, other = labels[first], labels[spelling.label]
            raise BackendRefused(_shared(one, other, spelling.path, all_spellings=all_spellings))


def _calls(paths: Sequence[Sequence[Path]]) -> Iterator[LabelCall]:
    texts: dict[Ids, str] = {}
    wanted: dict[Ids, dict[int, LabelToken]] = {}
    for path in (path for own in paths for path in own):
        for depth, token in enumerate(path):
            beginning = ids_of(path[:depth])
            texts.setdefault(beginning, path[depth - 1].text if depth else "")
            wanted.setdefault(beginning, {})[token.id] = token
    for beginning, tokens in wanted.items():
        yield LabelCall(beginning, texts[beginning], tuple(tokens.values()))


def _shared(one: str, other: str, path: Path, *, all_spellings: bool) -> str:
    if not all_spellings:
        return f"the labels {one!r} and {other!r} are the same tokens"
    return f"the spelling {path[-1].text!r} belongs to two labels, {one!r} and {other!r}: score without all_spellings"


def _chain(path: Path, known: Mapping[Ids, Mapping[int, float]]) -> float:
    ids = ids_of(path)
    return sum(known[ids[:depth]][token] for depth, token in enumerate(ids))


def _log_sum(values: Sequence[float]) -> float:
    """log(sum(exp(values)))."""
    if len(values) == 1:
        return values[0]
    top = max(values)
    return top + math.log(sum(math.exp(value - top) for value in values))
