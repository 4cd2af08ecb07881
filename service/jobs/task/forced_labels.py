"""Finds rows to which relations and known rows leave one label, whatever the language model says, before a job starts.

`at_most_one` beside `same_label` over one column is an example: no row of a group of two can have the label. These
rows cost prompts and mean nothing, and the report would praise their coherence.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from service.config import Task
from service.identifiers import Label, Row
from service.jobs.task.relations import shown_lines
from service.relations.columns import Fields, names_of
from service.relations.pairs import PairsRelation
from service.search.rules.consistency import Constraint, Constraints, TooManySteps
from service.search.rules.optimum import best_labelling
from service.values import by_number, counted

MAX_STEPS, STEPS_PER_LABEL = 64, 2  # limits of one search for a labelling: some steps, and for each label of a row
MAX_EFFORT = 100_000  # rows that all searches together look at, which bounds a request's time to a few seconds
START = 10  # rows that take as long as the start of one search
MAX_SOLVED, MAX_SOLVED_LABELS = 20, 128  # searches undecided within their limits that the solver gets, and their size
NEAR_ROWS = 32  # rows around a row whose labels are searched; of larger groups not all forced rows are found
_SHOWN_CHARACTERS = 40

Numbered = tuple[int, Constraint]  # a constraint, and the number of its relation in the task
_Shape = tuple[object, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForcedGroup:
    """Related rows with the one label that these relations, given by their numbers, leave each of them."""

    labels: Mapping[Row, Label]
    relations: tuple[int, ...]
    cells: tuple[tuple[str, str], ...]  # columns by which the relations group the rows, with their values

    def message(self, task: Task, lines: Sequence[int]) -> str:
        """The rows and their labels, for a message; `lines` has each row's line."""
        rows_of: dict[Label, list[Row]] = {}
        for row, label in self.labels.items():
            rows_of.setdefault(label, []).append(row)
        parts = [
            f"{task.labels[label]!r} on {by_number(len(rows), 'line', 'lines')} {shown_lines(rows, lines)}"
            for label, rows in rows_of.items()
        ]
        where = ", ".join(f"{column} {value!r}" for column, value in self.cells)
        return " and ".join(parts) + (f" ({where})" if where else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class RuledOut:
    """A label that no row of the data set can have by these relations, and by known rows if `by_known`.

    `rows` is the first group that is not all known, which the relations group by these cells.
    """

    label: Label
    relations: tuple[int, ...]
    rows: tuple[Row, ...]
    cells: tuple[tuple[str, str], ...]
    by_known: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ForcedLabels:
    """The rows with one possible label: how many by the relations alone, the first group of them, and by known rows."""

    first: ForcedGroup | None = None
    groups: int = 0
    rows: int = 0
    by_known: tuple[Row, ...] = ()
    is_complete: bool = True  # no limit ended the search
    ruled_out: tuple[RuledOut, ...] = ()  # labels of no row, where two or more others are left


def forced_labels(
    task: Task,
    rules_of: Mapping[tuple[Row, ...], Sequence[Numbered]],
    known: Mapping[Row, Label],
    cells: Mapping[Row, Fields],
) -> ForcedLabels:
    """Find the rows of these groups to which one label is left; `cells` has the columns that the relations read.

    A row that the limits leave undecided counts as free.
    """
    search = _Search(len(task.labels))
    first: ForcedGroup | None = None
    groups = rows = 0
    by_known: list[Row] = []
    for group, rules in rules_of.items():
        # One relation alone treats its rows alike, so that none of them is forced.
        found = (
            search.forced(group, [rule for _, rule in rules], {}) if len({number for number, _ in rules}) > 1 else {}
        )
        groups += bool(found)
        rows += len(found)
        if found and first is None:
            relations = _needed(_Search(len(task.labels)), rules, found)
            first = ForcedGroup(labels=found, relations=relations, cells=_cells(task, relations, cells[min(found)]))
        sure = {row: known[row] for row in group if row in known}
        if sure:
            also = search.forced(group, [rule for _, rule in rules], sure)
            by_known += [row for row in also if row not in found]
    return ForcedLabels(
        first=first, groups=groups, rows=rows, by_known=tuple(sorted(by_known)), is_complete=not search.gave_up
    )


def _needed(search: "_Search", rules: Sequence[Numbered], found: Mapping[Row, Label]) -> tuple[int, ...]:
    """The relations without any of which these rows would not all be forced to these labels."""
    needed = sorted({number for number, _ in rules})
    for number in list(needed):
        fewer = [rule for other, rule in rules if other in needed and other != number]
        if fewer and found.items() <= search.forced(_rows(fewer), fewer, {}).items():
            needed.remove(number)
    return tuple(needed)


def ruled_out_labels(
    task: Task,
    rules_of: Mapping[tuple[Row, ...], Sequence[Numbered]],
    known: Mapping[Row, Label],
    cells: Mapping[Row, Fields],
) -> tuple[RuledOut, ...]:
    """The labels that no row of these groups can have, if two or more others are left; undecided ones count as left.

    Call it only if every row of the data set is known or in one of these groups, and not all are known.
    """
    left_out = _refuted_everywhere(len(task.labels), rules_of, known) - set(known.values())
    if not left_out or len(left_out) > len(task.labels) - 2:
        return ()
    by_relations = _refuted_everywhere(len(task.labels), rules_of, {}) if known else left_out
    rows = next(group for group in rules_of if any(row not in known for row in group))
    found = []
    for label in sorted(left_out):
        sure = {} if label in by_relations else {row: known[row] for row in rows if row in known}
        relations = _refuting(_Search(len(task.labels)), rows, rules_of[rows], sure, label)
        where = _cells(task, relations, cells[rows[0]])
        by_known = label not in by_relations
        found.append(RuledOut(label=label, relations=relations, rows=rows, cells=where, by_known=by_known))
    return tuple(found)


def _refuted_everywhere(
    classes: int, rules_of: Mapping[tuple[Row, ...], Sequence[Numbered]], known: Mapping[Row, Label]
) -> set[Label]:
    """The labels that no row of any group can have."""
    search, left_out = _Search(classes), set(map(Label, range(classes)))
    for group, rules in rules_of.items():
        sure = {row: known[row] for row in group if row in known}
        left_out = search.refuted(group, [rule for _, rule in rules], sure, left_out)
        if not left_out:
            break
    return left_out


def _refuting(
    search: "_Search", rows: Sequence[Row], rules: Sequence[Numbered], sure: Mapping[Row, Label], label: Label
) -> tuple[int, ...]:
    """The relations without any of which some of these rows could have the label."""
    needed = sorted({number for number, _ in rules})
    for number in list(needed):
        fewer = [rule for other, rule in rules if other in needed and other != number]
        if search.refuted(rows, fewer, sure, {label}):
            needed.remove(number)
    return tuple(needed)


def _rows(rules: Iterable[Constraint]) -> tuple[Row, ...]:
    return tuple(sorted({row for rule in rules for row in rule.rows}))


def _cells(task: Task, relations: Sequence[int], row: Fields) -> tuple[tuple[str, str], ...]:
    """The columns of `group` of these relations, with their values in this row."""
    chosen = [task.relations[number] for number in relations]
    columns = [names_of(relation.group) for relation in chosen if not isinstance(relation, PairsRelation)]
    names = dict.fromkeys(name for found in columns for name in found)
    return tuple((name, str(row[name])[:_SHOWN_CHARACTERS]) for name in names)


class _Group:
    """A group of related rows with its rules, and the order in which a row's mates show a contradiction soonest."""

    def __init__(self, rows: Sequence[Row], rules: Sequence[Constraint]) -> None:
        self.rows = rows
        self.constraints = Constraints(rows, rules)
        self._rule_of: dict[Row, list[tuple[Row, ...]]] = {row: [] for row in rows}
        for members in sorted((rule.rows for rule in rules), key=len):
            for row in members:
                self._rule_of[row].append(members)

    def near(self, row: Row) -> list[Row]:
        """The other rows, the nearest first and of a large group no more than NEAR_ROWS."""
        found, seen = [row], {row}
        for member in found:  # which grows
            for mate in itertools.chain.from_iterable(self._rule_of[member]):
                if len(found) > NEAR_ROWS:
                    return found[1:]
                if mate not in seen:
                    seen.add(mate)
                    found.append(mate)
        return found[1:]

    def effort(self, row: Row) -> int:
        """About how many rows a search for a labelling around this row looks at."""
        return START + min(len(self.rows), NEAR_ROWS) + sum(map(len, self._rule_of[row]))


class _Search:
    """Finds the rows of a group to which one label is left; groups of one shape are searched once."""

    def __init__(self, classes: int) -> None:
        self._labels = tuple(map(Label, range(classes)))
        self._effort, self._solved = 0, 0
        self._of_shape: dict[_Shape, dict[int, Label]] = {}  # labels by the row's place in its group
        self._refuted_of_shape: dict[_Shape, set[Label]] = {}
        self.gave_up = False  # the limits left groups unsearched

    def forced(self, rows: Sequence[Row], rules: Sequence[Constraint], known: Mapping[Row, Label]) -> dict[Row, Label]:
        """The forced labels of this group's rows, known rows aside; none where no labelling keeps the rules."""
        if len(rules) == 1 and len(rules[0].clusters) == 1:
            return {}  # a group of one, which has a warning of its own
        place = {row: number for number, row in enumerate(rows)}
        shape = (len(rows), tuple(_shape(rule, place) for rule in rules), tuple((place[r], known[r]) for r in known))
        if shape not in self._of_shape:
            found = self._search(_Group(rows, rules), known)
            self._of_shape[shape] = {place[row]: label for row, label in found.items()}
        return {rows[number]: label for number, label in self._of_shape[shape].items()}

    def refuted(
        self, rows: Sequence[Row], rules: Sequence[Constraint], known: Mapping[Row, Label], labels: set[Label]
    ) -> set[Label]:
        """Those of the labels that no row of this group can have, as far as the limits allow a decision."""
        place = {row: number for number, row in enumerate(rows)}
        kept = frozenset((place[row], label) for row, label in known.items())
        shape = (len(rows), tuple(_shape(rule, place) for rule in rules), kept, frozenset(labels))
        if shape not in self._refuted_of_shape:
            group = _Group(rows, rules)
            self._refuted_of_shape[shape] = {label for label in labels if self._refutes(group, known, label)}
        return self._refuted_of_shape[shape]

    def _refutes(self, group: _Group, known: Mapping[Row, Label], label: Label) -> bool:
        """Whether it is proven that no row of the group can have the label."""
        if label in known.values():
            return False
        for row in group.rows:
            if row in known:
                continue
            if self._effort > MAX_EFFORT:
                return False
            if self._labelling(group, group.near(row), {**known, row: label}, row):
                return False
        return True

    def _search(self, group: _Group, known: Mapping[Row, Label]) -> dict[Row, Label]:
        """The rows with the same label in every labelling, found by trying the others.

        In a large group these are the rows of which the nearest rows refute every label but one.
        """
        possible: dict[Row, set[Label]] = {row: set() for row in group.rows if row not in known}
        forced: dict[Row, Label] = {}
        for row, labels in possible.items():
            if self._effort > MAX_EFFORT:
                self.gave_up = True
                break
            left = set(self._labels)  # not refuted yet
            near = group.near(row)
            while len(left) > 1 and len(labels) < 2 and (label := min(left - labels, default=None)) is not None:
                found = self._labelling(group, near, {**known, row: label}, row)
                if not found:
                    left.discard(label)
                elif len(near) < len(group.rows) - 1:
                    found = {row: label}  # the labelling says nothing about the rows whose mates are not near
                for mate in possible.keys() & found:
                    possible[mate].add(found[mate])
            if len(left) == 1:
                forced[row] = left.pop()
        return forced

    def _labelling(self, group: _Group, near: Sequence[Row], fixed: Mapping[Row, Label], row: Row) -> dict[Row, Label]:
        """A labelling of the near rows that keeps all rules with these fixed labels, the row's among them.

        Empty if there is none. Where that is undecided, only the fixed labels.
        """
        self._effort += group.effort(row) * len(self._labels) // 2
        if group.constraints.conflicts_of([row], fixed):
            return {}
        free = [mate for mate in near if mate not in fixed]
        try:
            steps = MAX_STEPS + STEPS_PER_LABEL * len(free) * len(self._labels)
            found = next(group.constraints.consistent(free, fixed, len(self._labels), steps), None)
        except TooManySteps:
            return self._solve(group, free, fixed)
        return {} if found is None else {**fixed, **found}

    def _solve(self, group: _Group, free: Sequence[Row], fixed: Mapping[Row, Label]) -> dict[Row, Label]:
        """As `_labelling`, by the search's solver."""
        self._solved += 1
        if self._solved > MAX_SOLVED or len(free) * len(self._labels) > MAX_SOLVED_LABELS:
            return dict(fixed)
        rules = group.constraints.of([*free, *fixed])
        best = best_labelling(rules, dict.fromkeys(free, (0.0,) * len(self._labels)), fixed, {})
        labels = {**fixed, **best.labels}
        if best.proven and group.constraints.conflicts_of(list(labels), labels):
            return {}
        return labels


def _shape(rule: Constraint, place: Mapping[Row, int]) -> _Shape:
    """The rule with rows as places in their group, equal for groups that only have other rows."""
    clusters = tuple(tuple(place[row] for row in cluster) for cluster in rule.clusters)
    return rule.rule.value, clusters, rule.label, rule.pairs


def forced_warnings(found: ForcedLabels, task: Task, lines: Sequence[int]) -> Iterator[str]:
    """The warnings of an estimate or a job about rows to which one label is left; `lines` has each row's line."""
    if found.first is not None:
        yield _by_relations(found, found.first, task, lines)
    for label in found.ruled_out:
        yield _without_rows(label, task, lines)
    if found.by_known:
        number, shown = len(found.by_known), shown_lines(found.by_known, lines)
        yield (
            f"{counted(number, 'row')} ({by_number(number, 'line', 'lines')} {shown}) "
            f"{by_number(number, 'gets', 'get')} the one label that known rows and relations leave, whatever the "
            "language model says"
        )


def _without_rows(found: RuledOut, task: Task, lines: Sequence[int]) -> str:
    names = [f"{task.relations[number].kind} (relations.{number})" for number in found.relations]
    who = f"the {by_number(len(names), 'relation', 'relations')} {' and '.join(names)}"
    who += f"{' and the known rows' if found.by_known else ''}"
    leave = by_number(len(names) + found.by_known, "leaves", "leave")
    cells = ", ".join(f"{column} {value!r}" for column, value in found.cells)
    return (
        f"{who} {leave} the label {task.labels[found.label]!r} to no row, whatever the language model says: "
        f"the first are {by_number(len(found.rows), 'line', 'lines')} {shown_lines(found.rows, lines)}"
        f"{f' ({cells})' if cells else ''}; if you do not mean that, leave a relation out, let it group by other "
        "columns, or let rows count as one (distinct); otherwise leave the label out"
    )


def _by_relations(found: ForcedLabels, first: ForcedGroup, task: Task, lines: Sequence[int]) -> str:
    names = [f"{task.relations[number].kind} (relations.{number})" for number in first.relations]
    who = f"the relations {' and '.join(names)} decide" if len(names) > 1 else f"the relation {names[0]} decides"
    of = f"{'' if found.is_complete else 'at least '}{counted(found.rows, 'row')} in {counted(found.groups, 'group')}"
    return (
        f"{who} labels whatever the language model says, of {of}: {first.message(task, lines)}"
        f"{' first' if found.groups > 1 else ''}; if you do not mean that, leave a relation out, let it group by other "
        "columns, or let rows count as one (distinct)"
    )
