"""Finds related rows whose relations no labelling can keep, or leave one label, before a job starts."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from service.config import Task
from service.identifiers import Label, Row
from service.jobs.task.forced_labels import ForcedLabels, Numbered, forced_labels, forced_warnings, ruled_out_labels
from service.jobs.task.relations import cells_of_relations, numbered_constraints, shown_lines
from service.relations.columns import Fields
from service.relations.registry import Relation
from service.search.rules.consistency import Constraint, Constraints, TooManySteps
from service.search.rules.optimum import best_labelling
from service.values import by_number, counted

MAX_CHECKED_ROWS = 20_000  # only the first rows are checked, which bounds a request's time and memory
MAX_STEPS, STEPS_PER_ROW = 1_024, 4  # limits of the search for a labelling; most need two steps per row
MAX_SOLVED_ROWS = 64  # larger groups are not given to the solver if that search is undecided
MAX_NARROWED = 32  # groups with more constraints are not narrowed down to the contradictory ones
MAX_REPORTED = 100  # groups


@dataclass(frozen=True, slots=True)
class Impossible:
    """Rows for which no labelling keeps all of these relations, given by their numbers in the task."""

    rows: tuple[Row, ...]
    relations: tuple[int, ...]

    def message(self, task: Task, lines: Sequence[int]) -> str:
        """The contradiction as a message; `lines` has each row's line."""
        where = f"{'line' if len(self.rows) == 1 else 'lines'} {shown_lines(self.rows, lines)}"
        names = " and ".join(f"{task.relations[number].kind} (relations.{number})" for number in self.relations)
        return f"on {where} no labelling with these {len(task.labels)} labels keeps {names}"


@dataclass(frozen=True, slots=True)
class Satisfiability:
    """The groups that cannot keep their relations, and whether these are all groups that were checked.

    `forced` has the rows of the other groups to which one label is left.
    """

    impossible: tuple[Impossible, ...] = ()
    everywhere: bool = False
    forced: ForcedLabels = field(default_factory=ForcedLabels)


def may_contradict(relations: Sequence[Relation]) -> bool:
    """Whether there can be rows for which no labelling keeps these relations; most relations alone can be kept.

    If not, they force no row to a label either, without known rows.
    """
    if len(relations) != 1:
        return bool(relations)
    return relations[0].may_contradict_itself


def check_satisfiability(
    task: Task, rows: Iterable[Fields], groups: Sequence[int], known: Mapping[Row, Label]
) -> Satisfiability:
    """Find the groups without a consistent labelling, known labels aside, and rows to which one label is left.

    `rows` has all rows, `groups` their groups. Tries a short search, then the search's solver. A group that both
    leave undecided counts as possible.
    """
    related = _related(task, rows, groups)
    rules = list(numbered_constraints(task, related))
    constraints = Constraints(list(related), [rule for _, rule in rules])
    rules_of = _by_group(constraints, rules)
    possible, found = dict(rules_of), list[Impossible]()
    for group in rules_of:
        if _is_impossible(group, [rule for _, rule in rules_of[group]], len(task.labels)):
            found.append(_narrow(possible.pop(group), len(task.labels)))
    forced = forced_labels(task, possible, known, related)
    tied = {row for group in possible for row in group}
    if possible and all(row in tied or row in known for row in map(Row, range(len(groups)))):  # no row is free
        forced = replace(forced, ruled_out=ruled_out_labels(task, possible, known, related))
    return Satisfiability(tuple(found[:MAX_REPORTED]), everywhere=len(found) == len(rules_of) > 0, forced=forced)


def _related(task: Task, rows: Iterable[Fields], groups: Sequence[int]) -> dict[Row, Fields]:
    """The relations' columns of the first rows, as far as their groups are complete."""
    left_out = set(groups[MAX_CHECKED_ROWS:])  # groups with rows behind the first ones
    first = zip(range(min(len(groups), MAX_CHECKED_ROWS)), rows, strict=False)
    return cells_of_relations(task, (row for row in first if groups[row[0]] not in left_out))


def _by_group(constraints: Constraints, rules: Sequence[Numbered]) -> Mapping[tuple[Row, ...], list[Numbered]]:
    """The rules by group."""
    found: dict[tuple[Row, ...], list[Numbered]] = {}
    for number, rule in rules:
        found.setdefault(constraints.group_of[rule.rows[0]], []).append((number, rule))
    return found


def _is_impossible(rows: Sequence[Row], rules: Sequence[Constraint], classes: int) -> bool:
    """Whether it is proven that no labelling of these rows keeps the rules."""
    if any(rule.lacks_labels(classes) for rule in rules):
        return True  # listing the labellings would take far too long
    constraints = Constraints(rows, rules)
    try:
        options = constraints.consistent(rows, {}, classes, MAX_STEPS + STEPS_PER_ROW * len(rows))
        return next(options, None) is None
    except TooManySteps:
        if len(rows) > MAX_SOLVED_ROWS:
            return False
    best = best_labelling(rules, dict.fromkeys(rows, (0.0,) * classes), {}, {})
    return best.proven and bool(constraints.conflicts(best.labels))


def _narrow(rules: Sequence[Numbered], classes: int) -> Impossible:
    """The group with only those of its rules that contradict one another."""
    needed = list(rules)
    for rule in rules if len(rules) <= MAX_NARROWED else ():
        fewer = [other for other in needed if other is not rule]
        if fewer and _is_impossible(_rows(fewer), [other for _, other in fewer], classes):
            needed = fewer
    return Impossible(tuple(_rows(needed)), tuple(sorted({number for number, _ in needed})))


def _rows(rules: Iterable[Numbered]) -> list[Row]:
    return sorted({row for _, rule in rules for row in rule.rows})


def relation_warnings(found: Satisfiability, task: Task, lines: Sequence[int]) -> Iterator[str]:
    """The warnings of an estimate or a job about groups that cannot keep their relations, and about forced labels."""
    yield from forced_warnings(found.forced, task, lines)
    if not found.impossible:
        return
    first, *others = found.impossible
    more = f", and {counted(len(others), 'more group')} {by_number(len(others), 'is', 'are')} such" if others else ""
    yield f"{first.message(task, lines)}; the labels will break as few of them as can be{more}"
