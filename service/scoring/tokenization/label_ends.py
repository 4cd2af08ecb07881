"""Ends labels that others begin with, so that no label wins by being short.

Whatever begins with " 10" begins with " 1": log p(" 1") is never below log p(" 10"). So a spelling
whose tokens those of another label begin with is read to its end, that is with the first token of
the separator, as it follows a label in every demonstration; " 1" and then the separator is an event
apart from " 10". The other spellings stay as they are: they are events apart already, and
each of them ended would cost one more call for every prompt.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from service.errors import BackendRefused
from service.scoring.calls.gather import together
from service.scoring.tokenization.label_paths import EndedPath, Ids, Path, PathFinder, Unusable, ids_of


@dataclass(frozen=True, slots=True)
class Spelling:
    """A text that stands for a label, given by its number, and its tokens behind the prompt.

    `ended` is there once the spelling is read past its end.
    """

    label: int
    text: str
    path: Path
    is_own: bool
    ended: EndedPath | None = None


async def told_apart(finder: PathFinder, spellings: Sequence[Spelling]) -> list[Spelling]:
    """The spellings, each read as far as none of another label begins with it.

    Another spelling than the label's own is left out where it cannot be ended. Raises BackendRefused
    where the label's own cannot, and BackendUnavailable.
    """
    found = list(spellings)
    while numbers := _beginnings([(spelling.label, ids_of(spelling.path)) for spelling in found]):
        longer = await together(_longer(finder, found[number]) for number in numbers)
        read = dict(zip(numbers, longer, strict=True))
        kept = [read.get(number, spelling) for number, spelling in enumerate(found)]
        found = [spelling for spelling in kept if spelling is not None]
    return found


def _beginnings(paths: Sequence[tuple[int, Ids]]) -> list[int]:
    """The places of those paths that a path of another label begins with, or is."""
    labels_behind: dict[Ids, set[int]] = {}
    for label, ids in paths:
        for depth in range(1, len(ids) + 1):
            labels_behind.setdefault(ids[:depth], set()).add(label)
    return [place for place, (label, ids) in enumerate(paths) if labels_behind[ids] - {label}]


async def _longer(finder: PathFinder, spelling: Spelling) -> Spelling | None:
    """The spelling read one token further; None where that cannot be and it is not the label's own."""
    try:
        ended = spelling.ended or await finder.ended_path(spelling.text, spelling.path)
        path = ended.first(ended.least if spelling.ended is None else len(spelling.path) + 1)
        await finder.check_sendable(path)
    except Unusable as error:
        if spelling.is_own:
            raise BackendRefused(f"the label {spelling.text.strip()!r} cannot be scored: {error}") from error
        return None
    return replace(spelling, path=path, ended=ended)
