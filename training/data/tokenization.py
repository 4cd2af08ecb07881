"""Tokenise prompts and labels by the rules of later scoring (`inference/label_tokens.py`).

A label stands behind its prompt with a space before it. A special token in a text is plain text. If another label
begins with a label, this one gets the token that ends it in a demonstration. This module truncates nothing, adds no end
of text, and refuses rows that do not fit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from transformers import PreTrainedTokenizerBase

from inference.errors import InvalidRequest
from inference.label_tokens import Prompt, Spelling, labels_behind
from inference.model.tokenization import Piece, PromptTokenizer
from training.data.rows import EXAMPLES, refused

Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TokenisedPrompt:
    """A prompt's tokens, including those that begin every text, and the tokens of each label behind it, by number.

    `others` has the tokens of each label's further spellings, which count for it where labels are scored; a training
    teaches `labels` alone.
    """

    ids: Ids
    labels: tuple[Ids, ...]
    others: tuple[tuple[Ids, ...], ...] = ()

    @property
    def paths(self) -> list[tuple[int, Ids]]:
        """Every label's number with the tokens of each of its spellings."""
        spelled = [(label, ids) for label, paths in enumerate(self.others) for ids in paths]
        return [*enumerate(self.labels), *spelled]


class Row(Protocol):
    """The text in front of a label, and the line of the file that it is from."""

    @property
    def line(self) -> int:
        """From 1."""

    @property
    def prompt(self) -> str:
        """The whole text in front of the label."""


class RowTokenizer:
    """Tokenises rows for a language model that reads `context_tokens` at once.

    `of` is the field of the specification that names the rows' file: faults name it.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, context_tokens: int, of: str = EXAMPLES) -> None:
        self._tokenizer = PromptTokenizer(tokenizer)
        self._context_tokens = context_tokens
        self._of = of

    def prompts(
        self, rows: Sequence[Row], labels: Sequence[str], separator: str, spellings: Sequence[Sequence[str]] = ()
    ) -> list[TokenisedPrompt]:
        """Each row's prompt with all labels behind it, and with each label's further spellings, as they stand there.

        Raises Refused, which names the line.
        """
        wanted = [Spelling(number, f" {label}", is_own=True) for number, label in enumerate(labels)]
        wanted += [Spelling(number, text) for number, texts in enumerate(spellings) for text in texts]
        return [self._prompt(row, wanted, separator) for row in rows]

    def check_room(self, line: int, prompt: Ids, completion_tokens: int) -> None:
        """Raises Refused, which names the line, where a prompt and its completion do not fit the context."""
        if len(prompt) + completion_tokens > self._context_tokens:
            raise refused(
                line,
                f"prompt: takes {len(prompt)} tokens and its completion up to {completion_tokens}, and the language "
                f"model reads {self._context_tokens} at once; shorten it, leave the row out, or lower "
                "policy.completion_tokens",
            )

    def ids(self, text: str) -> Ids:
        """A text's tokens, however many."""
        return tuple(self._tokenizer.encode(text))

    def text(self, line: int, field: str, text: str) -> Ids:
        """Tokenise a whole text. Raises Refused, which names line and field, if it is too long."""
        ids = self.ids(text)
        self._check_length(line, field, len(ids))
        return ids

    def _prompt(self, row: Row, spellings: Sequence[Spelling], separator: str) -> TokenisedPrompt:
        texts = [row.prompt, *(row.prompt + spelling.text for spelling in spellings)]
        ids, *with_labels = self._tokenizer.encode_all(texts)
        prompt = Prompt(row.line, ids, len(row.prompt), partial(_pieces, self._tokenizer, row.prompt))
        try:
            found = labels_behind(prompt, spellings, with_labels, separator)
        except InvalidRequest as error:
            reason = str(error).removesuffix(f", of query {row.line}")
            advice = "" if "; take " in reason else "; take other labels, or let prompts end differently"
            raise refused(row.line, reason + advice, self._of) from error
        self._check_length(row.line, "prompt", len(ids) + max(map(len, found)))
        return _tokenised(tuple(ids), found)

    def _check_length(self, line: int, field: str, tokens: int) -> None:
        if tokens > self._context_tokens:
            raise refused(
                line,
                f"{field}: takes {tokens} tokens, and the language model reads {self._context_tokens} at once; "
                "shorten it or leave the row out, since nothing is ever cut off",
                self._of,
            )


def _tokenised(ids: Ids, found: Mapping[Ids, int]) -> TokenisedPrompt:
    """The prompt with each label's tokens; the label's own spelling stands in front of its others."""
    paths: dict[int, list[Ids]] = {}
    for path, label in found.items():
        paths.setdefault(label, []).append(path)
    spelled = [paths[label] for label in sorted(paths)]
    others = tuple(tuple(own_first[1:]) for own_first in spelled)
    return TokenisedPrompt(ids, tuple(own_first[0] for own_first in spelled), others if any(others) else ())


def _pieces(tokenizer: PromptTokenizer, text: str, behind: str) -> list[Piece]:
    return tokenizer.pieces(text + behind)
