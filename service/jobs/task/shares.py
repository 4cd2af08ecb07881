"""What users know of the labels' shares: bounds for the rows of one shard, and what they cannot be together with."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from service.config import Task
from service.identifiers import Label, Row
from service.relations.relation import RelationCount
from service.search.moves.cardinality import counts_within

STANDARD_ERRORS = 2.0  # by which a shard's shares may differ from those of all rows: 95 of 100 shards keep within


def shares_of_shard(
    task: Task, known: Mapping[Row, Label], rows: int, job_rows: int
) -> dict[Label, tuple[float, float]]:
    """The least and the most share of a shard's rows that each label named in the task's shares has.

    `known` are the shard's known rows, `rows` of `job_rows` is how many rows it has. A shard of
    n of N rows is like a sample drawn without replacement: a label with share p of all rows has
    a share of the shard with a standard error of sqrt(p (1 - p) / n (1 - n / N)), and the bounds
    are two of them apart from p; for a shard of all rows there is none. Known rows were not
    drawn but chosen: they are counted as they are, and the others are the sample of the rest.
    """
    free, job_free = rows - len(known), job_rows - len(known)
    counted = Counter(known.values())
    shares = {}
    for name, bounds in task.share_ranges.items():
        label = Label(task.labels.index(name))
        least, most = (_share_of_rest(share, counted[label], job_rows, job_free) for share in bounds)
        lower = counted[label] + free * max(0.0, least - _error(least, free, job_free))
        upper = counted[label] + free * min(1.0, most + _error(most, free, job_free))
        shares[label] = (lower / rows, upper / rows)
    return shares


def _share_of_rest(share: float, known: int, job_rows: int, job_free: int) -> float:
    """The label's share of the rows that are not known here, where `share` is that of all rows."""
    return min(1.0, max(0.0, (share * job_rows - known) / job_free)) if job_free else 0.0


def _error(share: float, drawn: int, all_rows: int) -> float:
    """How far a sample's share may be from that of all rows."""
    if not drawn:
        return 0.0
    return STANDARD_ERRORS * math.sqrt(share * (1 - share) / drawn * (1 - drawn / all_rows))


def unmet_by_known(task: Task, known: Mapping[Row, Label], rows: int) -> Iterator[str]:
    """Why the shares cannot be met with these known rows among all rows, if they cannot."""
    ranges = {Label(task.labels.index(name)): bounds for name, bounds in task.share_ranges.items()}
    bounds = counts_within(ranges, rows)
    counted = Counter(known.values())
    for label, (_, most) in bounds.items():
        if counted[label] > most:
            name = repr(task.labels[label])
            yield f"{counted[label]} rows are known to be {name}, and of {rows} rows the shares allow {most}"
    least = {label: max(counted[label], bounds.get(label, (0, rows))[0]) for label in {*counted, *bounds}}
    if sum(least.values()) > rows:
        needed = ", ".join(f"{count} {task.labels[label]!r}" for label, count in sorted(least.items()))
        yield f"known rows and shares together need more than {rows} rows: {needed}"


def unmet_by_relations(task: Task, relations: Sequence[RelationCount], rows: int) -> Iterator[str]:
    """Shares that one of the relations does not leave room for, as far as its counts alone tell."""
    for number, (relation, found) in enumerate(zip(task.relations, relations, strict=True)):
        room = relation.room(found, rows) if task.shares else None
        if room is None:
            continue
        fewest, greatest = room
        name = task.labels[0] if relation.label is None else relation.label
        least, most = counts_within({Label(0): _implied(task, name)}, rows)[Label(0)]
        if fewest > most or greatest < least:
            yield (
                f"the relation {found.kind} (relations.{number}) leaves room for {fewest} to {greatest} of {rows} rows "
                f"with the label {name!r}, and the shares for {least} to {most}: relations go first"
            )


def _implied(task: Task, name: str) -> tuple[float, float]:
    """The share of a label by its own bounds and by what the other labels leave."""
    ranges = [task.share_ranges.get(other, (0.0, 1.0)) for other in task.labels if other != name]
    least, most = task.share_ranges.get(name, (0.0, 1.0))
    left = 1 - math.fsum(most for _, most in ranges), 1 - math.fsum(least for least, _ in ranges)
    return max(least, left[0]), min(most, left[1])
