"""Ends labels that are a prefix of another label, so that no label wins by being short.

Any text that begins with " 10" begins with " 1", so log p(" 1") is never below log p(" 10"). Therefore a
spelling whose tokens are a prefix of another label's gets the first token of the separator appended, which
follows the label in every demonstration: " 1" plus separator and " 10" are disjoint events. All other
spellings are disjoint already and stay unchanged, since each ending costs one more call per prompt.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from service.errors import BackendRefused
from service.scoring.calls.gather import together
from service.scoring.tokenization.label_paths import EndedPath, Ids, Path, PathFinder, Unusable, ids_of


@dataclass(frozen=True, slots=True)
class Spelling:
    """A text that stands for a label, and the text's tokens behind the prompt."""

    label: int  # its number
    text: str
    path: Path
    is_own: bool
    ended: EndedPath | None = None  # set once separator tokens are appended


async def made_distinct(finder: PathFinder, spellings: Sequence[Spelling]) -> list[Spelling]:
    """The spellings, with separator tokens appended until none is a prefix of another label's.

    Drops a spelling that cannot be ended, unless it is the label's own. Raises BackendRefused if a label's
    own spelling cannot be ended, and BackendUnavailable.
    """
    distinct = list(spellings)
    while numbers := _beginnings([(spelling.label, ids_of(spelling.path)) for spelling in distinct]):
        longer = await together(_longer(finder, distinct[number]) for number in numbers)
        read = dict(zip(numbers, longer, strict=True))
        kept = [read.get(number, spelling) for number, spelling in enumerate(distinct)]
        distinct = [spelling for spelling in kept if spelling is not None]
    return distinct


def _beginnings(paths: Sequence[tuple[int, Ids]]) -> list[int]:
    """The positions of the paths that are a prefix of another label's path, or equal to it."""
    labels_behind: dict[Ids, set[int]] = {}
    for label, ids in paths:
        for depth in range(1, len(ids) + 1):
            labels_behind.setdefault(ids[:depth], set()).add(label)
    return [place for place, (label, ids) in enumerate(paths) if labels_behind[ids] - {label}]


async def _longer(finder: PathFinder, spelling: Spelling) -> Spelling | None:
    """The spelling with one more separator token; None if that is impossible and it is not the label's own."""
    try:
        ended = spelling.ended or await finder.ended_path(spelling.text, spelling.path)
        path = ended.first(ended.least if spelling.ended is None else len(spelling.path) + 1)
        await finder.check_sendable(path)
    except Unusable as error:
        if spelling.is_own:
            raise BackendRefused(f"the label {spelling.text.strip()!r} cannot be scored: {error}") from error
        return None
    return replace(spelling, path=path, ended=ended)
