"""Checks a new task for faults that `Task` itself does not refuse.

Stored jobs of earlier releases are checked only by `Task`, so that they can continue.
"""

import unicodedata
from collections.abc import Iterator

from service.config import Task
from service.errors import Fault
from service.jobs.task.label_names import comparable, plain_number, without_invisible
from service.jobs.task.template import Template
from service.relations.groups import GroupRelation
from service.values import is_blank

_SHOWN_WITH_OTHERS = "\u200c\u200d"  # joiners: letters of some scripts, and emoji, look otherwise with one at their end
_TAGS = range(0xE0020, 0xE0080)  # in flags of regions, such as Wales


def task_faults(task: Task) -> Iterator[Fault]:
    """The faults of a new task, by field."""
    yield from _template(task)
    yield from _labels(task)
    yield from _separator(task)
    yield from _gold_values(task)
    yield from _groups(task)


def _template(task: Task) -> Iterator[Fault]:
    template = Template(task.template)
    if is_blank(task.template[-1]):
        message = (
            "the template must not end with white space or an invisible character: the service puts one space before "
            "every label itself"
        )
        yield Fault(message, field="task.template")
    if template.fields:
        return
    name = next(iter(template.quoted), "text")
    message = "the template reads no column, so that all rows would read alike; name one in single braces"
    yield Fault(f"{message}, as in {{{name}}}", field="task.template")


def _labels(task: Task) -> Iterator[Fault]:
    """Faults of labels: a label must fit in one line of a prompt, and people must be able to distinguish it."""
    seen: dict[str, str] = {}
    for label in task.labels:
        if len(label.splitlines()) > 1:
            yield Fault(
                f"the label {label!r} must not hold a line break: labels stand in one line", field="task.labels"
            )
        if not _looks(label):
            yield Fault(f"the label {label!r} must not be invisible", field="task.labels")
        elif hidden := _hidden(label):
            how = "must not begin or end with an invisible character, or contain a control character"
            yield Fault(f"the label {label!r} {how}: remove {hidden!r}", field="task.labels")
        first = seen.setdefault(_looks(label), label)
        if first != label:
            how = "must differ by more than case, spaces, invisible characters and the encoding of letters"
            yield Fault(f"the labels {first!r} and {label!r} {how}", field="task.labels")


def _hidden(label: str) -> str:
    """The first character that nobody sees but the language model reads, as copying from web pages leaves it; or ""."""
    controls = (
        character for character in label if unicodedata.category(character) == "Cc" and character not in "\t\n\r"
    )
    ends = (label[place] for place in (0, -1) if is_blank(label[place]) and not _is_part_of_a_sign(label[place]))
    return next(controls, None) or next(ends, "")


def _is_part_of_a_sign(character: str) -> bool:
    return character in _SHOWN_WITH_OTHERS or ord(character) in _TAGS


def _looks(label: str) -> str:
    """A form of the label that is equal for labels which look the same to a reader."""
    return " ".join(comparable(without_invisible(label)).split())


def _separator(task: Task) -> Iterator[Fault]:
    """Faults of the separator: it follows the label in a demonstration, so neither may contain the other."""
    separator = task.separator
    for label in task.labels:
        if separator in label:
            message = f"the separator {separator!r} must not occur in a label, as it does in {label!r}"
            yield Fault(message, field="task.separator")
        elif comparable(separator) == comparable(label):
            message = f"the separator {separator!r} must not be a label, as {label!r} is"
            yield Fault(message, field="task.separator")


def _gold_values(task: Task) -> Iterator[Fault]:
    where = "task.gold_values"
    if task.gold_values and task.gold_field is None:
        yield Fault("gold_values must not stand without a gold_field, whose values they explain", field=where)
    meant: dict[str, str] = {}
    for value, label in task.gold_values.items():
        if is_blank(value):
            yield Fault("gold_values must not explain a blank value: where gold is blank, there is none", field=where)
        if label not in task.labels:
            message = f"gold_values must name labels as they are written: {label!r} is not one of {task.labels}"
            yield Fault(message, field=f"{where}.{value}")
        elif meant.setdefault(plain_number(comparable(value)), label) != label:
            yield Fault(f"gold_values must give {value!r} one label; in another spelling it has another", field=where)


def _groups(task: Task) -> Iterator[Fault]:
    """Rules over the rows of a group without a column to group by, which would tie all rows together."""
    for number, relation in enumerate(task.relations):
        if isinstance(relation, GroupRelation) and not relation.group:
            yield Fault(
                "name one column or several: without any, all rows are one group",
                field=f"task.relations.{number}.group",
            )
