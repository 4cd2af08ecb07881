"""Converts the user's label shares to bounds for one shard, and finds known rows and relations that contradict them."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from service.config import Task
from service.identifiers import Label, Row
from service.relations.relation import RelationCount
from service.search.moves.cardinality import counts_within, shares_of_part
from service.values import by_number, counted


def shares_of_shard(
    task: Task, known: Mapping[Row, Label], rows: int, job_rows: int
) -> dict[Label, tuple[float, float]]:
    """The lower and upper bound of each label's share of a shard, for the labels in the task's shares.

    `known` are the shard's known rows; it has `rows` of the job's `job_rows` rows.
    """
    ranges = {Label(task.labels.index(name)): bounds for name, bounds in task.share_ranges.items()}
    return shares_of_part(ranges, list(known.values()), rows, job_rows)


def unmet_by_known(task: Task, known: Mapping[Row, Label], rows: int) -> Iterator[str]:
    """Messages about shares that all rows of the data set cannot meet, given these known rows."""
    ranges = {Label(task.labels.index(name)): bounds for name, bounds in task.share_ranges.items()}
    bounds = counts_within(ranges, rows)
    having = Counter(known.values())
    for label, (_, most) in bounds.items():
        if having[label] > most:
            name, verb = repr(task.labels[label]), by_number(having[label], "is", "are")
            sure = f"{counted(having[label], 'row')} {verb} known to be {name}"
            yield f"{sure}, and of {counted(rows, 'row')} the shares allow {most}"
    least = {label: max(having[label], bounds.get(label, (0, rows))[0]) for label in {*having, *bounds}}
    if sum(least.values()) > rows:
        needed = ", ".join(f"{count} {task.labels[label]!r}" for label, count in sorted(least.items()))
        yield f"known rows and shares together need more than {counted(rows, 'row')}: {needed}"


def unmet_by_relations(task: Task, relations: Sequence[RelationCount], rows: int) -> Iterator[str]:
    """Messages about shares that contradict one of the relations, as far as its counts show that."""
    for number, (relation, found) in enumerate(zip(task.relations, relations, strict=True)):
        room = relation.room(found, rows) if task.shares else None
        if room is None:
            continue
        fewest, greatest = room
        name = task.labels[0] if relation.label is None else relation.label
        least, most = counts_within({Label(0): _implied(task, name)}, rows)[Label(0)]
        if fewest > most or greatest < least:
            yield (
                f"the relation {found.kind} (relations.{number}) leaves room for {fewest} to {greatest} of "
                f"{counted(rows, 'row')} with the label {name!r}, and the shares for {least} to {most}: relations go "
                "first"
            )


def decided_by_shares(task: Task, known: Mapping[Row, Label], rows: int) -> Iterator[str]:
    """The warning about shares that leave one label to all rows that are not known."""
    free = rows - len(known)
    if not task.shares or free <= 0:
        return
    having = Counter(known.values())
    bounds = counts_within({Label(n): _implied(task, name) for n, name in enumerate(task.labels)}, rows)
    open_labels = [name for n, name in enumerate(task.labels) if bounds[Label(n)][1] > having[Label(n)]]
    if len(open_labels) == 1:
        causes = "the shares and the known rows leave" if known else "the shares leave"
        yield f"{causes} the label {open_labels[0]!r} alone to {counted(free, 'row')}, whatever the language model says"


def _implied(task: Task, name: str) -> tuple[float, float]:
    """The bounds of a label's share that follow from its own bounds and those of the other labels."""
    ranges = [task.share_ranges.get(other, (0.0, 1.0)) for other in task.labels if other != name]
    least, most = task.share_ranges.get(name, (0.0, 1.0))
    left = 1 - math.fsum(most for _, most in ranges), 1 - math.fsum(least for least, _ in ranges)
    return max(least, left[0]), min(most, left[1])
