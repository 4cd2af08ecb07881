"""Choose held-out rows: whole groups, by the seed alone."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from training.errors import Refused


@dataclass(frozen=True, slots=True)
class Split:
    """The positions of the training rows and of the held-out rows, each in the file's order."""

    trained: tuple[int, ...]
    held_out: tuple[int, ...]


def split(groups: Sequence[str], share: float, seed: int) -> Split:
    """Hold out whole groups, one after the other, as long as they fit into the share of rows.

    A hash orders the groups, so that an additional row changes little. Raises Refused if no group fits or no row
    remains.
    """
    members: dict[str, list[int]] = {}
    for place, group in enumerate(groups):
        members.setdefault(group, []).append(place)
    room = round(share * len(groups))
    held: set[int] = set()
    for group in sorted(members, key=lambda name: hashlib.sha256(f"{seed}\n{name}".encode()).digest()):
        if len(held) + len(members[group]) <= room and len(held) + len(members[group]) < len(groups):
            held.update(members[group])
    if share > 0 and not held:
        raise Refused(
            f"holdout: no group of rows fits into {share:g} of {len(groups)} rows; "
            "give more rows, smaller groups or a larger share, or 0 to hold out nothing"
        )
    places = range(len(groups))
    return Split(tuple(p for p in places if p not in held), tuple(p for p in places if p in held))
