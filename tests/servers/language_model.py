"""A toy language model that all fake servers share: a tokenizer with real difficulties, and next-token probabilities.

It knows no words. What follows a prompt is a pure function of the prompt's token ids: noise drawn
from their hash, and, where the prompt has demonstrations, what they say of the question at its end.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from string import ascii_letters, ascii_lowercase, digits, punctuation

import numpy as np
from numpy.typing import NDArray

from service.scoring.deterministic import hashed_label

Values = NDArray[np.float64]

PAD, BEGIN, END = 0, 1, 2
SPECIALS = ("<pad>", "<s>", "</s>")
ANSWERS = ("True", "False")
WORDS = (
    "The city of Paris is in France Rome Spain Oslo Norway Lima Peru Italy Question Claim I think this claim "
    "larger than smaller one two three and not a Yes No yes no true false True False TRUE FALSE red blue green"
)
_SEPARATOR = "\n\n"
_PIECES = re.compile(r" ?[A-Za-z]+| ?[0-9]+|\n\n|\n| ?[^\sA-Za-z0-9]|\s", re.DOTALL)
_NOISE_SIZE = 8192  # a power of two
_NOISE_NATS = 1.5
_ANSWER_NOISE = 0.2  # share of the noise of other tokens, so that a search finds one clear optimum
_ANSWER_NATS = 6.0  # how much likelier an answer is than other tokens
_CERTAINTY_NATS = 5.0  # between the answers if all demonstrations agree
_PRIOR = 2.0  # weight of the truth against one demonstration
_BIAS_NATS = 0.4  # preference for the first answer without demonstrations


@dataclass(frozen=True, slots=True)
class Piece:
    """One token of a text; `start` and `stop` count the text's characters."""

    id: int
    text: str
    start: int
    stop: int


class ToyTokenizer:
    """Longest match over a fixed vocabulary, word by word.

    A word with the space before it is one token where the vocabulary has it, and falls into
    pieces of one or two letters where not. Letters beyond ASCII are one token for each byte of
    UTF-8, so that one character can be several tokens. `glued` texts are one token wherever they
    stand, across the borders of words: a separator glued to what follows it, or a label glued to
    what stands before, breaks encode(a + b) == encode(a) + encode(b). `split` words are left out of
    the vocabulary. Special tokens are recognised in texts, as Hugging Face's tokenizers do.
    """

    def __init__(self, *, glued: Sequence[str] = (), split: Sequence[str] = (), begins: bool = True) -> None:
        self.begins = begins  # whether a prompt begins with a special token
        self._texts = [
            *SPECIALS,
            *(f"<0x{byte:02X}>" for byte in range(256)),
            *(text for text in _vocabulary() if text not in split),
            *glued,
        ]
        self._bytes = [_bytes_of(number, text) for number, text in enumerate(self._texts)]
        self._ids = {text: number for number, text in enumerate(self._texts)}
        self._longest = max(map(len, self._texts))
        self._glued = tuple(sorted(glued, key=len, reverse=True))
        self._whole = re.compile("|".join(map(re.escape, (*SPECIALS, *self._glued))))
        self._glued_only = re.compile("|".join(map(re.escape, self._glued)) or "(?!)")  # otherwise it matches nothing
        self._known: dict[str, list[tuple[int, str, int, int]]] = {}  # words read before

    @property
    def size(self) -> int:
        """The number of tokens of the vocabulary."""
        return len(self._texts)

    def encode(self, text: str, *, special: bool = False, parses: bool = True) -> list[Piece]:
        """The tokens of a text; with `special`, after the special token that begins a prompt, which has no width.

        `parses`: what looks like a special token in the text is one.
        """
        begin = [Piece(BEGIN, SPECIALS[BEGIN], 0, 0)] if special and self.begins else []
        return begin + list(self._pieces(text, self._whole if parses else self._glued_only))

    def ids(self, text: str, *, special: bool = False) -> list[int]:
        """The same, as ids alone."""
        return [piece.id for piece in self.encode(text, special=special)]

    def id_of(self, text: str) -> int:
        """The one token with this text. Raises KeyError."""
        return self._ids[text]

    def text_of(self, token: int) -> str:
        """A token as text, alone; the name of a byte that is no character by itself."""
        return self._texts[token]

    def bytes_of(self, token: int) -> bytes:
        """A token as bytes; empty for a special token."""
        return self._bytes[token]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of tokens without special tokens."""
        return b"".join(map(self.bytes_of, ids)).decode(errors="replace")

    def _pieces(self, text: str, whole: re.Pattern[str]) -> Iterator[Piece]:
        at = 0
        for match in whole.finditer(text):
            yield from self._words(text, at, match.start())
            yield Piece(self._ids[match[0]], match[0], match.start(), match.end())
            at = match.end()
        yield from self._words(text, at, len(text))

    def _words(self, text: str, start: int, stop: int) -> Iterator[Piece]:
        for match in _PIECES.finditer(text, start, stop):
            at = match.start()
            for number, part, begin, end in self._word(match[0]):
                yield Piece(number, part, at + begin, at + end)

    def _word(self, word: str) -> list[tuple[int, str, int, int]]:
        """The tokens of a word that stands by itself: ids, texts, and where they begin and end in it."""
        if word not in self._known:
            found: list[tuple[int, str, int, int]] = []
            while (at := found[-1][-1] if found else 0) < len(word):
                found += self._longest_match(word, at)
            self._known[word] = found
        return self._known[word]

    def _longest_match(self, word: str, at: int) -> list[tuple[int, str, int, int]]:
        for end in range(min(len(word), at + self._longest), at, -1):
            number = self._ids.get(word[at:end])
            if number is not None and word[at:end] not in SPECIALS:
                return [(number, word[at:end], at, end)]
        return [
            (len(SPECIALS) + byte, f"<0x{byte:02X}>", at, at + 1) for byte in word[at].encode(errors="surrogatepass")
        ]


@dataclass(frozen=True)
class ToyLanguageModel:
    """Next-token log-probabilities; `seed` chooses the weights.

    `impossible` texts are tokens of probability 0. `inverted` weights hold the opposite for true.
    What answers are likely `answers` says; behind a whole one the separator is.
    """

    tokenizer: ToyTokenizer
    seed: int = 0
    impossible: tuple[str, ...] = ()
    inverted: bool = False
    answers: tuple[str, ...] = ANSWERS

    def log_probabilities(self, ids: Sequence[int]) -> Values:
        """log p(token | ids) in nats for every token of the vocabulary; the probabilities sum to one."""
        logits = self._noise_after(ids)
        for token, nats in self._answers_after(ids).items():
            logits[token] = nats + _ANSWER_NOISE * logits[token] - self._reserve
        for text in self.impossible:
            logits[self.tokenizer.id_of(text)] = -np.inf
        highest = logits.max()
        normalized: Values = logits - (highest + np.log(np.exp(logits - highest).sum()))
        return normalized

    @cached_property
    def _noise(self) -> Values:
        return np.random.default_rng(self.seed).normal(0.0, _NOISE_NATS, _NOISE_SIZE)

    @cached_property
    def _reserve(self) -> float:
        """How many nats answers are less likely than with the weights of seed 0."""
        return float(np.random.default_rng(self.seed).uniform(1.5, 3.0)) if self.seed else 0.0

    @cached_property
    def _paths(self) -> list[list[int]]:
        return [self.tokenizer.ids(f" {answer}") for answer in self.answers]

    def _noise_after(self, ids: Sequence[int]) -> Values:
        digest = hashlib.blake2b(np.asarray(ids, dtype="<i4").tobytes(), digest_size=8).digest()
        stride, offset = (int.from_bytes(half, "little") for half in (digest[:4], digest[4:]))
        places = (np.arange(self.tokenizer.size, dtype=np.int64) * (stride | 1) + offset) % _NOISE_SIZE
        noise: Values = self._noise[places]
        return noise

    def _answers_after(self, ids: Sequence[int]) -> dict[int, float]:
        """Logits of the tokens that begin or continue an answer."""
        continued: dict[int, float] = {}
        for path in self._paths:
            for depth in range(1, len(path)):
                if list(ids[-depth:]) == path[:depth]:
                    continued[path[depth]] = 2 * _ANSWER_NATS
            if list(ids[-len(path) :]) == path:
                continued[self.tokenizer.id_of(_SEPARATOR)] = 2 * _ANSWER_NATS
        if continued:
            return continued
        added: dict[int, float] = {}
        for path, nats in zip(self._paths, self._belief(self.tokenizer.decode(ids)), strict=True):
            added[path[0]] = max(added.get(path[0], 0.0), _ANSWER_NATS + nats)
        return added

    def _belief(self, text: str) -> list[float]:
        """Nats for each answer, from the labels of the demonstrations before the question."""
        *demonstrations, question = text.split(_SEPARATOR)
        count = len(self.answers)
        votes = [_PRIOR] + [0.0] * (count - 1)
        for demonstration in demonstrations:
            shift = _shift(demonstration, self.answers)
            if shift is not None:
                votes[(shift + self.inverted) % count] += 1
        truth, total = (hashed_label(question, count) + self.inverted) % count, sum(votes)
        nats = [_CERTAINTY_NATS * votes[(answer - truth) % count] / (total + 1) for answer in range(count)]
        nats[0] += _BIAS_NATS / (1 + len(demonstrations))
        return nats


@cache
def usual_model() -> ToyLanguageModel:
    """The language model of seed 0; servers share it, since it never changes."""
    return ToyLanguageModel(ToyTokenizer())


@lru_cache(maxsize=10_000)
def _shift(demonstration: str, answers: tuple[str, ...]) -> int | None:
    """0 if a demonstration has the true label of the toy world, more for others, None without a demonstration."""
    text, _, label = demonstration.rpartition(" ")
    return (answers.index(label) - hashed_label(text, len(answers))) % len(answers) if label in answers else None


def _bytes_of(token: int, text: str) -> bytes:
    if token < len(SPECIALS):
        return b""
    return bytes([token - len(SPECIALS)]) if token < len(SPECIALS) + 256 else text.encode()


def _vocabulary() -> list[str]:
    """Every text that is a token, except special ones: characters, pairs of letters, words with and without a space."""
    characters = [*ascii_letters, *digits, *punctuation, " ", "\n", "\t", _SEPARATOR]
    spaced = [f" {character}" for character in (*ascii_letters, *digits, *punctuation)]
    pairs = [one + two for one in ascii_lowercase for two in ascii_lowercase]
    words = [form for word in WORDS.split() for form in (word, f" {word}")]
    return list(dict.fromkeys([*characters, *spaced, *pairs, *words]))


def top(values: Values, count: int) -> list[tuple[int, float]]:
    """The likeliest tokens with their values, sorted by value and then by id."""
    order = np.argsort(-values, kind="stable")[:count]
    return [(int(token), float(values[token])) for token in order]


def masked(values: Values, permitted: Iterable[int]) -> Values:
    """The values over the permitted tokens alone, normalised again."""
    kept = np.full_like(values, -np.inf)
    places = list(permitted)
    kept[places] = values[places]
    highest = kept.max()
    normalized: Values = kept - (highest + np.log(np.exp(kept - highest).sum()))
    return normalized


def warmed(values: Values, temperature: float) -> Values:
    """The values at another temperature."""
    scaled = values / temperature
    highest = scaled.max()
    normalized: Values = scaled - (highest + np.log(np.exp(scaled - highest).sum()))
    return normalized


def labels_of(texts: Iterable[str]) -> Mapping[str, str]:
    """The true label of each text in the toy world."""
    return {text: ANSWERS[hashed_label(text, 2)] for text in texts}
