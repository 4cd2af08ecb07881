"""The tokens of a prompt tree: each segment is tokenised once, and every prompt gets the ids of its whole text.

Where lines are tokenised independently (tokenization.py), a segment adds the lines that it
ends to those before it and leaves its last line open for what follows. Elsewhere every
prompt is tokenised whole.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from inference.errors import InvalidRequest
from inference.prefix_cache import Tokens
from inference.tokenization import PromptTokenizer

LabelIds = tuple[int, ...]  # a label's tokens behind a prompt, in one spelling
_OPEN_CHARACTERS = 1 << 28  # of unended lines, over all segments of a tree: some prompts have no lines


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of text behind an earlier segment, given by its place in the list, or at the start of prompts."""

    parent: int | None
    text: str


@dataclass(frozen=True, slots=True)
class TreeQuery:
    """What is asked for behind a segment."""

    segment: int
    text: str


@dataclass(frozen=True, slots=True)
class Spelling:
    """A text that stands for a label, given by its place, where it follows a prompt; each label has one of its own."""

    label: int
    text: str
    is_own: bool = False


@dataclass(frozen=True, slots=True)
class Tree:
    """Prompts that share their beginnings: the segments from the start to a query's, then the query."""

    segments: Sequence[Segment]
    queries: Sequence[TreeQuery]
    spellings: Sequence[Spelling]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Run:
    """Tokens behind another run; `length` counts them from the start of the prompt."""

    before: "Run | None"
    tokens: Tokens
    length: int


@dataclass(frozen=True, slots=True, eq=False)
class QueryTokens:
    """A prompt that ends with a run, and the labels' tokens behind it: with each the label it stands for."""

    end: Run
    labels: dict[LabelIds, int]

    @property
    def length(self) -> int:
        """The prompt's tokens."""
        return self.end.length

    def prompt(self) -> Tokens:
        """The prompt's token ids."""
        runs: list[Tokens] = []
        run: Run | None = self.end
        while run is not None:
            runs.append(run.tokens)
            run = run.before
        return np.concatenate(runs[::-1])


def tokenise(tokenizer: PromptTokenizer, tree: Tree) -> list[QueryTokens]:
    """The tokens of every query's prompt and of the labels behind it. Raises InvalidRequest.

    A label must not change the tokens of the prompt before it, or there is no log-probability of
    it. Another spelling than its own that does so is left out.
    """
    return list(_by_line(tokenizer, tree) if tokenizer.by_line else _whole(tokenizer, tree))


@dataclass(frozen=True, slots=True)
class _Cut:
    """Lines that a text ends, and the one that it leaves open."""

    ended: list[str]
    rest: str


def _by_line(tokenizer: PromptTokenizer, tree: Tree) -> Iterator[QueryTokens]:
    cuts = _cut_segments(tokenizer, tree)
    asked = [_cut(tokenizer, cuts[query.segment].rest + query.text) for query in tree.queries]
    with_labels = {
        rest: [tokenizer.lines(rest + spelling.text) for spelling in tree.spellings]
        for rest in {cut.rest for cut in asked}
    }
    ids = _encode(tokenizer, chain(*(cut.ended for cut in (*cuts, *asked)), with_labels, *chain(*with_labels.values())))
    runs: list[Run] = []
    for segment, cut in zip(tree.segments, cuts, strict=True):
        tokens = _flat(cut.ended, ids)
        if segment.parent is None:
            runs.append(_run(None, [*tokenizer.before, *tokens]))
        else:
            runs.append(_run(runs[segment.parent], tokens))
    labels: dict[str, dict[LabelIds, int]] = {}
    for number, (query, cut) in enumerate(zip(tree.queries, asked, strict=True)):
        rest = [*ids[cut.rest], *tokenizer.after]
        if cut.rest not in labels:
            whole = [[*_flat(lines, ids), *tokenizer.after] for lines in with_labels[cut.rest]]
            labels[cut.rest] = _labels(number, rest, whole, tree.spellings)
        yield QueryTokens(_run(runs[query.segment], [*_flat(cut.ended, ids), *rest]), labels[cut.rest])


def _cut_segments(tokenizer: PromptTokenizer, tree: Tree) -> list[_Cut]:
    cuts: list[_Cut] = []
    held = 0
    for segment in tree.segments:
        before = "" if segment.parent is None else cuts[segment.parent].rest
        cuts.append(_cut(tokenizer, before + segment.text))
        held += len(cuts[-1].rest)
        if held > _OPEN_CHARACTERS:
            raise InvalidRequest("the tree's prompts have too much text without line breaks")
    return cuts


def _cut(tokenizer: PromptTokenizer, text: str) -> _Cut:
    *ended, rest = tokenizer.lines(text)
    return _Cut(ended, rest)


def _encode(tokenizer: PromptTokenizer, lines: Iterator[str]) -> dict[str, list[int]]:
    distinct = list(dict.fromkeys(lines))
    return dict(zip(distinct, tokenizer.encode_all(distinct, add_special_tokens=False), strict=True))


def _run(before: Run | None, tokens: list[int]) -> Run:
    return Run(before, np.array(tokens, np.int32), len(tokens) + (before.length if before else 0))


def _flat(lines: Sequence[str], ids: dict[str, list[int]]) -> list[int]:
    return [token for line in lines for token in ids[line]]


def _whole(tokenizer: PromptTokenizer, tree: Tree) -> Iterator[QueryTokens]:
    for number, query in enumerate(tree.queries):
        text = _text(tree, query)
        prompt, *with_labels = tokenizer.encode_all([text, *(text + spelling.text for spelling in tree.spellings)])
        yield QueryTokens(_run(None, prompt), _labels(number, prompt, with_labels, tree.spellings))


def _text(tree: Tree, query: TreeQuery) -> str:
    texts = [query.text]
    place: int | None = query.segment
    while place is not None:
        texts.append(tree.segments[place].text)
        place = tree.segments[place].parent
    return "".join(texts[::-1])


def _labels(
    query: int, prompt: list[int], with_labels: Sequence[list[int]], spellings: Sequence[Spelling]
) -> dict[LabelIds, int]:
    """What each spelling adds to the tokens of a query's prompt, or of its end."""
    found: dict[LabelIds, Spelling] = {}
    for spelling, whole in zip(spellings, with_labels, strict=True):
        ids = tuple(whole[len(prompt) :])
        if whole[: len(prompt)] != prompt or not ids:
            if spelling.is_own:
                text = spelling.text.removeprefix(" ")
                raise InvalidRequest(
                    f"the tokenizer merges the label {text!r} with the text before it, of query {query}"
                )
            continue
        first = found.setdefault(ids, spelling)
        if first is not spelling and (spelling.is_own or first.label != spelling.label):
            raise InvalidRequest(_shared(first, spelling))
    return {ids: spelling.label for ids, spelling in found.items()}


def _shared(first: Spelling, other: Spelling) -> str:
    if other.is_own:
        texts = [spelling.text.removeprefix(" ") for spelling in (first, other)]
        return f"the labels {texts[0]!r} and {texts[1]!r} are the same tokens"
    return f"the spelling {other.text!r} stands for two labels, number {first.label} and number {other.label}"
