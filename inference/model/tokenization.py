"""Turn prompts into token ids, line by line if that surely gives the same ids as the whole text.

Dozens of prompts share thousands of tokens, and tokenising each from its start would cost more
than scoring it.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from inference.cache.prefix_cache import Tokens

_LINE_START = re.compile(r"(?<=\n)(?=[A-Za-z])")  # where to split a prompt
_SPANS_LINES = re.compile(r"\n.*[A-Za-z]", re.DOTALL)
_REMEMBERED_LINES = 1 << 16
_PROBES = (
    "The city of Paris is in France. True\n\nThe city of Rome is in Spain. False\n\nThe",
    "Question: 12 + 5\nClaim: 17\nI think this claim is True\n\nQuestion: x\n  Claim:  \n\n\nAnswer",
    "a\nb\r\nC\n\t\nd \ne\n.\nf!\ng?\n\nH\u00e9l\u00e8ne\nZ\u00fcrich\n1\nI'm\n'tis\n\u4f60\u597d\nOK",
)


@dataclass(frozen=True, slots=True)
class Piece:
    """A token of a text: id, text and position in characters."""

    id: int
    text: str
    start: int
    stop: int


class PromptTokenizer:
    """Token ids of prompts and texts of tokens.

    `before` and `after` are the tokens that the tokenizer puts around a text, and `by_line`
    says whether a text may be tokenised line by line. A special token in a text (`</s>`,
    `<|im_end|>`) is plain text: rows are data, and none may end or begin a prompt.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer: Any = tokenizer
        self._tokenizer.split_special_tokens = True
        self._texts: dict[int, str] = {}
        self._lines: dict[str, list[int]] = {}
        self._special = frozenset(tokenizer.all_special_ids)
        self.before, self.after = self._special_tokens()
        self.by_line = self._lines_are_independent()

    @property
    def end_of_text(self) -> int | None:
        """The token that ends a text, if the language model has one."""
        ends = self._tokenizer.eos_token_id
        return ends if isinstance(ends, int) else None

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """The token ids of a prompt, on request with the tokenizer's additions around a text (a BOS, say)."""
        if not self.by_line:
            return self._encode(text, add_special_tokens=add_special_tokens)
        ids = list(self.before) if add_special_tokens else []
        for line in self.lines(text):
            ids += self._encode_line(line)
        return ids + self.after if add_special_tokens else ids

    def lines(self, text: str) -> list[str]:
        """The lines of the text; if `by_line` holds, the text's ids are their ids in order."""
        return _LINE_START.split(text)

    def encode_all(self, texts: Sequence[str], *, add_special_tokens: bool = True) -> list[list[int]]:
        """The token ids of each whole text; many at once take a fraction of the time of one by one."""
        if not texts:
            return []
        ids: list[list[int]] = self._tokenizer(list(texts), add_special_tokens=add_special_tokens)["input_ids"]
        return ids

    def count_all(self, texts: Sequence[str]) -> list[int]:
        """The number of tokens of each text, without the tokenizer's additions."""
        if not texts:
            return []
        encoded = self._tokenizer(list(texts), return_offsets_mapping=True)
        return [sum(stop > start for start, stop in places) for places in encoded["offset_mapping"]]

    def pieces(self, text: str) -> list[Piece]:
        """The tokens of a prompt with their positions; the tokenizer's additions have none."""
        encoded = self._tokenizer(text, return_offsets_mapping=True)
        return [
            Piece(token, text[start:stop], start, stop)
            for token, (start, stop) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        ]

    def text(self, token: int) -> str:
        """The text of a single token."""
        text = self._texts.get(token)
        if text is None:
            text = self._texts[token] = self._decode([token])
        return text

    def continuation(
        self, prompt: Sequence[int] | Tokens, generated: Sequence[int], *, skip_special: bool = True
    ) -> str:
        """The text of generated tokens behind a prompt, with a leading space."""
        last = [int(token) for token in prompt[-1:]]
        before = self._decode(last, skip_special=skip_special)
        return self._decode([*last, *generated], skip_special=skip_special)[len(before) :]

    def is_special(self, token: int) -> bool:
        """Whether a token stands for no text, such as the end of it."""
        return token in self._special

    def _encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=add_special_tokens)
        return ids

    def _encode_line(self, line: str) -> list[int]:
        ids = self._lines.get(line)
        if ids is None:
            if len(self._lines) >= _REMEMBERED_LINES:
                self._lines.clear()
            ids = self._lines[line] = self._encode(line, add_special_tokens=False)
        return ids

    def _decode(self, tokens: list[int], *, skip_special: bool = False) -> str:
        text: str = self._tokenizer.decode(tokens, skip_special_tokens=skip_special, clean_up_tokenization_spaces=False)
        return text

    def _special_tokens(self) -> tuple[list[int], list[int]]:
        """The tokens that the tokenizer adds before and after a text."""
        bare = self._encode("a", add_special_tokens=False)
        whole = self._encode("a", add_special_tokens=True)
        for start in range(len(whole) - len(bare) + 1):
            if whole[start : start + len(bare)] == bare:
                return whole[:start], whole[start + len(bare) :]
        return [], []

    def _lines_are_independent(self) -> bool:
        """Whether a text may be split before the letter that begins a line.

        Tokens merge only into tokens of the vocabulary. If none of these spans such a place, the
        tokenizer treats each side alike with and without the other. The probes catch special
        treatment of the start of a text.
        """
        if any(_SPANS_LINES.search(text) for text in self._vocabulary_texts()):
            return False
        for probe in _PROBES:
            lines = [self._encode(line, add_special_tokens=False) for line in _LINE_START.split(probe)]
            ids = [token for line in lines for token in line]
            if self._encode(probe, add_special_tokens=False) != ids:
                return False
            if self._encode(probe, add_special_tokens=True) != [*self.before, *ids, *self.after]:
                return False
        return True

    def _vocabulary_texts(self) -> Iterator[str]:
        for token in self._tokenizer.get_vocab():
            yield token.replace("\u010a", "\n")  # byte-level vocabularies write a line break so
