"""Finds the token paths of all labels by the server's tokenizer, and computes label scores from token scores.

With all spellings, the probability of a label is the sum over the token paths of its spellings.
The authors' code sums in a similar way, over those of the 20 likeliest tokens that contain "true" in any case.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from service.errors import BackendRefused
from service.scoring.calls.gather import together
from service.scoring.tokenization.label_ends import Spelling, made_distinct
from service.scoring.tokenization.label_paths import Encode, Ids, LabelToken, Path, PathFinder, Unusable, ids_of
from service.search.predictions.prompt_tree import LogProbabilities
from service.search.predictions.scores import log_of_sum
from service.values import spellings_of

_BEFORE = "I think this claim is"  # any word will do; only the characters behind the last word matter (see `ending`)


@dataclass(frozen=True, slots=True)
class LabelCall:
    """One call: the label tokens to append to the prompt, as ids and as text, and the tokens to score after them."""

    ids: Ids
    text: str
    wanted: tuple[LabelToken, ...]

    @property
    def wanted_ids(self) -> list[int]:
        """The wanted tokens' ids."""
        return [token.id for token in self.wanted]


@dataclass(frozen=True, slots=True)
class LabelTokens:
    """The token paths of every label's spellings behind a prompt, and the calls that score them."""

    paths: tuple[tuple[Path, ...], ...]
    calls: tuple[LabelCall, ...]  # one for each distinct proper prefix of the paths, the empty one first

    def log_probabilities(self, known: Mapping[Ids, Mapping[int, float]]) -> LogProbabilities:
        """The log-probability of each label, nats; `known` has the tokens' log-probabilities by each call's ids.

        Chain rule along a path: the sum over its tokens of log p(token | prompt and the tokens
        before). Over the paths of a label: the logarithm of the sum of their probabilities.
        """
        return tuple(log_of_sum([_chain(path, known) for path in paths]) for paths in self.paths)


async def find_label_tokens(
    encode: Encode,
    labels: Sequence[str],
    behind: str = "",
    *,
    separator: str = "",
    all_spellings: bool = False,
    as_text: bool = False,
) -> LabelTokens:
    """Find the labels' tokens behind prompts that end with `behind` (see `ending`), to send as ids or `as_text`.

    A label that is a prefix of another is ended by the `separator` (see label_ends.py), if there is one. Leaves out
    a spelling that the tokenizer merges with the text before it, unless it is the label's own. Raises BackendRefused
    if it merges the label's own, if two labels share a path, or if a label cannot be ended; and BackendUnavailable.
    """
    before = _BEFORE + behind
    finder = PathFinder(encode, before, ids_of(await encode(before)), separator, as_text)
    each = [_spellings(finder, number, label, all_spellings=all_spellings) for number, label in enumerate(labels)]
    spellings = [spelling for own in await together(each) for spelling in own]
    _check_distinct(labels, spellings, all_spellings=all_spellings)
    if separator:
        spellings = await made_distinct(finder, spellings)
    paths = [tuple(one.path for one in spellings if one.label == number) for number in range(len(labels))]
    return LabelTokens(tuple(paths), tuple(_calls(paths)))


async def _spellings(finder: PathFinder, number: int, label: str, *, all_spellings: bool) -> list[Spelling]:
    """The label's spellings with distinct paths, its own spelling first. Raises BackendRefused."""
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
    """Raises BackendRefused if two labels share a path."""
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
