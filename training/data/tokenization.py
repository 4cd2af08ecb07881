"""The tokens of prompts and labels, by the rules by which they are scored later (`inference/label_tokens.py`).

A label stands behind its prompt with a space before it. What looks like a special token is text. A label that
another one begins with is read with the token that ends it in a demonstration. Nothing is cut off and no end
of text is added: what does not fit is refused.
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
    """A prompt's tokens, those that begin every text included, and those of each label behind it, by number."""

    ids: Ids
    labels: tuple[Ids, ...]


class RowTokenizer:
    """Tokenises rows for a language model that reads `context_tokens` at once."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, context_tokens: int) -> None:
        self._tokenizer = PromptTokenizer(tokenizer)
        self._context_tokens = context_tokens

    def prompts(self, rows: Sequence[Example], labels: Sequence[str], separator: str) -> list[TokenisedPrompt]:
        """Each row's prompt with all labels behind it. Raises Refused, which names the line."""
        spellings = [Spelling(number, f" {label}", is_own=True) for number, label in enumerate(labels)]
        return [self._prompt(row, spellings, separator) for row in rows]

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
        """A whole text's tokens. Raises Refused, which names line and field, where they are too many."""
        ids = self.ids(text)
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
