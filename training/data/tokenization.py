"""Tokenise prompts and labels by the rules of later scoring (`inference/label_tokens.py`).

A label stands behind its prompt with a space before it. A special token in a text is plain text. A label that another
one begins with gets the token that ends it in a demonstration. This module truncates nothing, adds no end of text, and
refuses rows that do not fit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from transformers import PreTrainedTokenizerBase

from inference.errors import InvalidRequest
from inference.label_tokens import Prompt, Spelling, labels_behind
from inference.model.tokenization import Piece, PromptTokenizer
from training.data.examples import Example
from training.data.rows import refused

Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TokenisedPrompt:
    """A prompt's tokens, including those that begin every text, and the tokens of each label behind it, by number."""

    ids: Ids
    labels: tuple[Ids, ...]


class RowTokenizer:
    """Tokenise rows for a language model with a context of `context_tokens`."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, context_tokens: int) -> None:
        self._tokenizer = PromptTokenizer(tokenizer)
        self._context_tokens = context_tokens

    def prompts(self, rows: Sequence[Example], labels: Sequence[str], separator: str) -> list[TokenisedPrompt]:
        """Tokenise each row's prompt with all labels behind it. Raises Refused, which names the line."""
        spellings = [Spelling(number, f" {label}", is_own=True) for number, label in enumerate(labels)]
        return [self._prompt(row, spellings, separator) for row in rows]

    def text(self, line: int, field: str, text: str) -> Ids:
        """Tokenise a whole text. Raises Refused, which names line and field, if it is too long."""
        ids = tuple(self._tokenizer.encode(text))
        self._check_length(line, field, len(ids))
        return ids

    def _prompt(self, row: Example, spellings: Sequence[Spelling], separator: str) -> TokenisedPrompt:
        texts = [row.prompt, *(row.prompt + spelling.text for spelling in spellings)]
        ids, *with_labels = self._tokenizer.encode_all(texts)
        prompt = Prompt(row.line, ids, len(row.prompt), partial(_pieces, self._tokenizer, row.prompt))
        try:
            found = labels_behind(prompt, spellings, with_labels, separator)
        except InvalidRequest as error:
            reason = str(error).removesuffix(f", of query {row.line}")
            advice = "" if "; take " in reason else "; take other labels, or let prompts end differently"
            raise refused(row.line, reason + advice) from error
        behind = {label: path for path, label in found.items()}
        self._check_length(row.line, "prompt", len(ids) + max(map(len, behind.values())))
        return TokenisedPrompt(tuple(ids), tuple(behind[spelling.label] for spelling in spellings))

    def _check_length(self, line: int, field: str, tokens: int) -> None:
        if tokens > self._context_tokens:
            raise refused(
                line,
                f"{field}: takes {tokens} tokens, and the language model reads {self._context_tokens} at once; "
                "shorten it or leave the row out, since nothing is ever cut off",
            )


def _pieces(tokenizer: PromptTokenizer, text: str, behind: str) -> list[Piece]:
    return tokenizer.pieces(text + behind)
