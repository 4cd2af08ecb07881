"""The tokens of labels behind a prompt, with an end for labels that others begin with.

Every text that begins with " 10" begins with " 1", so log p(" 1") is never below log p(" 10"). If the
tokens of another label begin with a spelling's tokens, the spelling continues with the separator's
first token, as in a demonstration: " 1" followed by the separator is an event apart from " 10".
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from inference.errors import InvalidRequest
from inference.model.tokenization import Piece

LabelIds = tuple[int, ...]  # a label's tokens behind a prompt, in one spelling

# Possible beginnings of the next demonstration: some tokenizers split white space by the text after it.
_NEXT_DEMONSTRATIONS = ("The", "7", '"')


@dataclass(frozen=True, slots=True)
class Spelling:
    """A text for the label of this number, behind a prompt; each label has at least one."""

    label: int
    text: str
    is_own: bool = False


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt, or its end: its tokens, its length in characters, and a way to tokenise a text behind it."""

    number: int  # of the query
    ids: list[int]
    characters: int
    pieces: Callable[[str], list[Piece]]  # of the prompt with a text behind it


@dataclass(frozen=True, slots=True)
class _Path:
    """A spelling's tokens, perhaps extended by the separator's."""

    spelling: Spelling
    ids: LabelIds
    ended: LabelIds = ()


def labels_behind(
    prompt: Prompt, spellings: Sequence[Spelling], with_spellings: Sequence[list[int]], separator: str
) -> dict[LabelIds, int]:
    """Return each spelling's tokens behind a prompt, with its label.

    `with_spellings` has the tokens of the prompt with each spelling behind it. A spelling other than the
    label's own is left out if it changes the prompt's tokens or has no end. Raises InvalidRequest.
    """
    paths = _own_paths(prompt, spellings, with_spellings)
    while separator and (begun := _begun(paths)):
        longer = [_longer(prompt, path, separator) if path.ids in begun else path for path in paths]
        paths = [path for path in longer if path is not None]
    return {path.ids: path.spelling.label for path in paths}


def _own_paths(prompt: Prompt, spellings: Sequence[Spelling], with_spellings: Sequence[list[int]]) -> list[_Path]:
    """Every spelling's tokens, each once. Raises InvalidRequest."""
    found: dict[LabelIds, Spelling] = {}
    for spelling, whole in zip(spellings, with_spellings, strict=True):
        ids = tuple(whole[len(prompt.ids) :])
        if whole[: len(prompt.ids)] != prompt.ids or not ids:
            if spelling.is_own:
                name = _name(spelling)
                raise InvalidRequest(
                    f"the tokenizer merges the label {name} with the text before it, of query {prompt.number}"
                )
            continue
        first = found.setdefault(ids, spelling)
        if first is not spelling and (spelling.is_own or first.label != spelling.label):
            raise InvalidRequest(_shared(first, spelling))
    return [_Path(spelling, ids) for ids, spelling in found.items()]


def _begun(paths: Sequence[_Path]) -> set[LabelIds]:
    """The paths with which a path of another label begins, or which equal one."""
    labels: dict[LabelIds, set[int]] = {}
    for path in paths:
        for depth in range(1, len(path.ids) + 1):
            labels.setdefault(path.ids[:depth], set()).add(path.spelling.label)
    return {path.ids for path in paths if labels[path.ids] - {path.spelling.label}}


def _longer(prompt: Prompt, path: _Path, separator: str) -> _Path | None:
    """Extend the path by one token. Raises InvalidRequest without one; drops another spelling."""
    if path.ended:
        ended, length = path.ended, len(path.ids) + 1
    else:
        ended, length = _ended(prompt, path, separator)
    if length <= len(ended):
        return replace(path, ids=ended[:length], ended=ended)
    if not path.spelling.is_own:
        return None
    raise InvalidRequest(
        f"another label begins with the label {_name(path.spelling)}, and no token of the separator {separator!r} "
        "ends it whatever demonstration follows; take another separator or other labels"
    )


def _ended(prompt: Prompt, path: _Path, separator: str) -> tuple[LabelIds, int]:
    """The tokens in a demonstration, as far as they do not depend on the next one, and the number of end tokens.

    If the tokenizer merges the spelling's end with the separator, the merged token ends it.
    """
    text = path.spelling.text + separator
    first, *others = (prompt.pieces(text + following) for following in _NEXT_DEMONSTRATIONS)
    columns = takewhile(lambda column: len({piece.id for piece in column}) == 1, zip(first, *others, strict=False))
    shared = [piece for piece, *_ in columns if piece.stop <= prompt.characters + len(text)]
    ids = tuple(piece.id for piece in shared)
    start, own = len(prompt.ids), path.ids
    if list(ids[:start]) != prompt.ids:
        return (), 1
    if ids[start : start + len(own)] == own:
        return ids[start:], len(own) + 1
    end = prompt.characters + len(path.spelling.text)
    return ids[start:], 1 + sum(1 for piece in shared[start:] if piece.stop <= end)


def _name(spelling: Spelling) -> str:
    return repr(spelling.text.removeprefix(" "))


def _shared(first: Spelling, other: Spelling) -> str:
    if other.is_own:
        return f"the labels {_name(first)} and {_name(other)} are the same tokens"
    return f"the spelling {other.text!r} stands for two labels, number {first.label} and number {other.label}"
