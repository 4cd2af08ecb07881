"""Tokenise a prompt tree: each segment once, so that every prompt gets the ids of its whole text.

If the tokenizer treats lines independently (tokenization.py), a segment adds its complete lines
to the earlier ones and leaves its last line open. Otherwise this module tokenises every prompt
whole.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

import numpy as np

from inference.cache.prefix_cache import Tokens
from inference.errors import InvalidRequest
from inference.label_tokens import LabelIds, Prompt, Spelling, labels_behind
from inference.model.tokenization import Piece, PromptTokenizer

_OPEN_CHARACTERS = 1 << 28  # of unended lines, over all segments of a tree: some prompts have no lines


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of text behind an earlier segment, given by its place in the list, or at the start of prompts."""

    parent: int | None
    text: str


@dataclass(frozen=True, slots=True)
class TreeQuery:
    """A query behind a segment."""

    segment: int
    text: str


@dataclass(frozen=True, slots=True)
class Tree:
    """Prompts that share their beginnings: the segments from the start to a query's, then the query."""

    segments: Sequence[Segment]
    queries: Sequence[TreeQuery]
    spellings: Sequence[Spelling]
    separator: str = ""  # ends labels that others begin with (label_tokens.py); empty: no label gets an end


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Run:
    """Tokens behind another run; `length` counts them from the start of the prompt."""

    before: "Run | None"
    tokens: Tokens
    length: int


@dataclass(frozen=True, slots=True, eq=False)
class QueryTokens:
    """A prompt that ends with a run, and the labels' tokens behind it, each with its label."""

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
    """Tokenise every query's prompt and the labels behind it. Raises InvalidRequest.

    A label must not change the tokens of the prompt before it, or it has no log-probability. This
    function leaves out other spellings that do so. See label_tokens.py.
    """
    return list(_by_line(tokenizer, tree) if tokenizer.by_line else _whole(tokenizer, tree))


@dataclass(frozen=True, slots=True)
class _Cut:
    """The complete lines of a text, and its open line."""

    ended: list[str]
    rest: str


def _by_line(tokenizer: PromptTokenizer, tree: Tree) -> Iterator[QueryTokens]:
    cuts = _cut_segments(tokenizer, tree)
    query_cuts = [_cut(tokenizer, cuts[query.segment].rest + query.text) for query in tree.queries]
    with_labels = {
        rest: [tokenizer.lines(rest + spelling.text) for spelling in tree.spellings]
        for rest in {cut.rest for cut in query_cuts}
    }
    ids = _encode(
        tokenizer, chain(*(cut.ended for cut in (*cuts, *query_cuts)), with_labels, *chain(*with_labels.values()))
    )
    runs: list[Run] = []
    for segment, cut in zip(tree.segments, cuts, strict=True):
        tokens = _flat(cut.ended, ids)
        if segment.parent is None:
            runs.append(_run(None, [*tokenizer.before, *tokens]))
        else:
            runs.append(_run(runs[segment.parent], tokens))
    labels: dict[str, dict[LabelIds, int]] = {}
    for number, (query, cut) in enumerate(zip(tree.queries, query_cuts, strict=True)):
        rest = [*ids[cut.rest], *tokenizer.after]
        if cut.rest not in labels:
            whole = [[*_flat(lines, ids), *tokenizer.after] for lines in with_labels[cut.rest]]
            prompt = Prompt(number, rest, len(cut.rest), partial(_pieces_of_line, tokenizer, cut.rest))
            labels[cut.rest] = labels_behind(prompt, tree.spellings, whole, tree.separator)
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
        ids, *with_labels = tokenizer.encode_all([text, *(text + spelling.text for spelling in tree.spellings)])
        prompt = Prompt(number, ids, len(text), partial(_pieces, tokenizer, text))
        yield QueryTokens(_run(None, ids), labels_behind(prompt, tree.spellings, with_labels, tree.separator))


def _pieces(tokenizer: PromptTokenizer, text: str, behind: str) -> list[Piece]:
    """The tokens of a prompt with a text behind it."""
    return tokenizer.pieces(text + behind)


def _pieces_of_line(tokenizer: PromptTokenizer, rest: str, behind: str) -> list[Piece]:
    """The tokens of a prompt's last line with a text behind it, without tokens that begin a prompt."""
    return tokenizer.pieces(rest + behind)[len(tokenizer.before) :]


def _text(tree: Tree, query: TreeQuery) -> str:
    texts = [query.text]
    place: int | None = query.segment
    while place is not None:
        texts.append(tree.segments[place].text)
        place = tree.segments[place].parent
    return "".join(texts[::-1])
