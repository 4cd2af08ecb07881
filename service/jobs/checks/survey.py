"""Reads a new data set for the first time: checks every row against the task, and collects what submission needs."""

from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from service.config import Task
from service.identifiers import Label, Row
from service.jobs.checks.beginnings import common_length
from service.jobs.checks.meant import meant_column, other_layout, other_spelling, places_of
from service.jobs.checks.rows import MAX_COLUMNS, FaultLog, RowSource, SourceRow
from service.jobs.checks.said_missing import SaidMissing
from service.jobs.checks.special_names import SpecialNames
from service.jobs.task.gold import GoldCheck, Unmatched
from service.jobs.task.known import KnownLabels, NoSuchLabel, contradictions
from service.jobs.task.related_rows import RelatedRows
from service.jobs.task.relations import row_id
from service.jobs.task.satisfiability import Satisfiability, check_satisfiability, may_contradict
from service.jobs.task.shares import unmet_by_known
from service.jobs.task.template import Template
from service.placeholders import template_fields
from service.relations.columns import UnusableValue
from service.relations.relation import RelationCount
from service.result_formats import RESULT_COLUMNS
from service.search.predictions.prompt_tree import ending
from service.values import as_text, by_number, is_blank

RAW_PROBABILITY = "icm_raw_probability"  # only on request; not reserved, since older data sets may have the column
_NESTED = "the field holds a list or an object; the task needs text, a number or true/false"
_RESERVED = (
    "the name is reserved for the result; rename the column, or set earlier_results to 'drop' or 'rename' in the "
    "configuration if the data set is one that was labelled here before"
)
MAX_COLUMN_NAME_CHARACTERS = 500
MAX_ID_CHARACTERS = 500
MAX_ENDINGS = 1_000  # distinct ones, which bounds the memory for many rows
SAMPLE_ROWS = 256  # basis for estimating the tokens of all other rows
EXACT_ROWS = 2_000  # in data sets up to this size every row's tokens are counted
_KEPT_CHARACTERS = 4_000_000  # of the texts of such a data set


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """The results of reading a data set without faults: what the submission of its job needs to know."""

    columns: tuple[str, ...]  # in the order of their first appearance
    lines: "array[int]"  # the first line of each row
    demonstration_bytes: "array[int]"  # UTF-8 bytes of each row's text with the longest label and the separator
    groups: list[int]  # the number of each row's group
    relations: tuple[RelationCount, ...]  # in the order of the task
    sample: tuple[str, ...]  # texts of a random sample of all rows
    texts: tuple[str, ...] | None  # of all rows, where these are few and short enough to keep
    first_texts: tuple[str, ...]  # of the first two rows
    endings: Mapping[str, int]  # number of rows by their text's ending, on which the labels' tokens depend
    repeated_texts: int  # rows with the same text as an earlier row
    satisfiability: Satisfiability  # of the relations
    rows_lacking_their_twin: int
    texts_with_separator: int
    texts_with_demonstrations: int  # with a label in front of a separator, so that they look like several rows
    shared_beginnings: float  # share of all characters in the common prefix of a text and the one before it
    known: Mapping[Row, Label]  # labels that the user is sure of
    gold_rows: int  # rows with a gold value
    unmatched_gold: Unmatched
    special_names: SpecialNames  # names of special tokens in the texts
    said_missing: SaidMissing  # rows with nothing but words such as NA
    assumptions: tuple[str, ...]  # made in reading the data set
    arrow_schema: bytes | None  # the columns' types, if the file has them

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(self.lines)


def survey_rows(source: RowSource, task: Task) -> Survey:
    """Read and check every row. Raises InvalidDataset, PayloadTooLarge and UnsupportedFormat.

    It keeps only numbers, ids and relation keys in memory. Call it in a thread, since it computes for long.
    """
    faults = FaultLog()
    surveyor = _Surveyor(task, faults)
    seen = False
    for row in source.rows(faults):
        seen = True
        surveyor.add(row)
    if not seen and not faults:
        faults.add("the data set has no rows")
    if seen:
        surveyor.check_fields()
    surveyor.check_template()
    if not faults:
        surveyor.check_ids_named()
        surveyor.check_known(source)
    if not faults:
        surveyor.check_relations(source)
    if not faults:
        surveyor.check_texts_differ()
    faults.raise_any()
    return surveyor.survey()


class _Surveyor:
    """Checks the rows one by one and collects the survey."""

    def __init__(self, task: Task, faults: FaultLog) -> None:
        self._faults = faults
        self._checks = _RowChecks(task, faults)
        self._template = Template(task.template)
        self._separator = task.separator
        self._answers = tuple(f" {label}{task.separator}" for label in task.labels)
        self._tail_bytes = 1 + max(len(label.encode()) for label in task.labels) + len(task.separator.encode())
        self._task, self._related = task, RelatedRows(task.relations)
        self._satisfiability = Satisfiability()
        self._lines, self._demonstration_bytes = array("Q"), array("I")
        self._sample: list[str] = []
        self._all_texts: list[str] | None = []
        self._first_texts: list[str] = []
        self._known_labels, self._known = KnownLabels(task), dict[Row, Label]()
        self._gold = GoldCheck(task)
        self._random = Random(0)
        self._endings: Counter[str] = Counter()
        self._texts: set[int] = set()  # hashes: a collision in 2^64 would only miscount a warning
        self._texts_with_separator = self._texts_with_demonstrations = 0
        self._special_names = SpecialNames()
        self._said_missing = SaidMissing(self._template.fields)
        self._before = ""
        self._characters = self._shared = 0

    def add(self, row: SourceRow) -> None:
        """Check the row, and add it to the survey if it has no fault."""
        if not self._checks.passes(row):
            return
        try:
            self._related.add(row.fields, row_id(self._task.id_field, len(self._lines), row.fields))
        except UnusableValue as error:
            self._faults.add(str(error), line=row.line, field=error.field)
            return
        self._gold.add(row.fields)
        text = self._template.render(row.fields)
        self._keep(text)
        if (label := self._known_labels.of(row.fields)) is not None:
            self._known[Row(len(self._lines))] = label
        self._lines.append(row.line)
        self._demonstration_bytes.append(len(text.encode()) + self._tail_bytes)
        self._texts.add(hash(text))
        self._special_names.add(text, row.line)
        self._said_missing.add(row.fields, row.line)
        if (end := ending(text)) in self._endings or len(self._endings) < MAX_ENDINGS:
            self._endings[end] += 1
        if self._separator in text:
            self._texts_with_separator += 1
            self._texts_with_demonstrations += any(answer in text for answer in self._answers)
        self._characters += len(text)
        self._keep_for_counting(text)
        self._shared += common_length(self._before, text)
        self._before = text

    def check_template(self) -> None:
        """Report columns that the template names in doubled braces, which do not read them."""
        for name in self._template.quoted:
            if name in self._checks.columns:
                message = f"{{{{{name}}}}} writes braces and reads no column; write {{{name}}}, with single braces"
                self._faults.add(message, field="task.template")

    def check_texts_differ(self) -> None:
        """Report a template that gives all rows the same text."""
        if len(self._texts) == 1 < len(self._lines):
            names = ", ".join(map(repr, self._template.fields))
            self._faults.add(
                f"all {len(self._lines)} rows read alike, since {names} never differs; let the template name a column "
                "that tells rows apart",
                field="task.template",
            )

    def check_ids_named(self) -> None:
        """Report pairs with an id that no row has; call only if no row has a fault."""
        hint = "" if self._task.id_field else f"; without an id_field ids are row numbers, 0 to {len(self._lines) - 1}"
        for unknown in self._related.unknown_ids():
            self._faults.add(
                f"no row has the id {unknown.id!r} of the pair {list(unknown.pair)}{hint}",
                line=None if unknown.row is None else self._lines[unknown.row],
                field=unknown.column or f"task.relations.{unknown.relation}.pairs",
            )

    def check_known(self, source: RowSource) -> None:
        """Report known labels that contradict shares or relations; call only if no row has a fault."""
        name = self._task.known_field
        if name is None:
            return
        if not self._known:
            self._faults.add("no row has a known label; fill in a few or leave known_field out", field=name)
        elif len(self._known) == len(self._lines):
            self._faults.add("every row has a known label: there is nothing to label", field=name)
        for message in unmet_by_known(self._task, self._known, len(self._lines)):
            self._faults.add(message, field="task.shares")
        if self._task.relations and not self._faults:
            rows = (row.fields for row in source.rows(FaultLog(0)))
            for found in contradictions(self._task, rows, self._related.groups(), self._known):
                self._faults.add(found.message(self._lines), line=self._lines[found.rows[-1]], field=name)

    def check_relations(self, source: RowSource) -> None:
        """Report relations that no group of rows can keep; call only if no row has a fault."""
        if not may_contradict(self._task.relations) and not (self._known and self._task.relations):
            return
        rows = (row.fields for row in source.rows(FaultLog(0)))
        self._satisfiability = check_satisfiability(self._task, rows, self._related.groups(), self._known)
        for found in self._satisfiability.impossible if self._satisfiability.everywhere else ():
            line = self._lines[found.rows[-1]]
            self._faults.add(found.message(self._task, self._lines), line=line, field="task.relations")

    def _keep_for_counting(self, text: str) -> None:
        if len(self._lines) > EXACT_ROWS or self._characters > _KEPT_CHARACTERS:
            self._all_texts = None
        elif self._all_texts is not None:
            self._all_texts.append(text)

    def _keep(self, text: str) -> None:
        """Reservoir sampling: every row so far is in the sample with the same probability."""
        seen = len(self._lines)
        if seen < 2:
            self._first_texts.append(text)
        if seen < SAMPLE_ROWS:
            self._sample.append(text)
        elif (place := self._random.randrange(seen + 1)) < SAMPLE_ROWS:
            self._sample[place] = text

    def check_fields(self) -> None:
        """Report fields that no row has, with the existing columns, or with the doubt about the header."""
        absent = [field for field in self._checks.named if field not in self._checks.columns]
        if absent and (doubt := self._faults.doubt_about_names) is not None:
            names = " and ".join(map(repr, absent))
            self._faults.replace(absent[0], f"no row has the field {names}; {doubt}", *absent[1:])
            return
        layout = other_layout(self._checks.only_row)
        columns = list(self._checks.columns)[:MAX_COLUMNS]
        for field in absent:
            places = places_of(self._task, field)
            named = f"{field!r}, which {' and '.join(places)} {by_number(len(places), 'names', 'name')}"
            message = f"no row has the field {named}{meant_column(field, columns)}; there are: {self._column_names()}"
            self._faults.replace(field, f"{message}{layout}")
        self._check_whole_columns()

    def _check_whole_columns(self) -> None:
        """Report what to do if the only row holds all columns of the table, as pandas writes one by default."""
        row = self._checks.only_row
        if row and all(isinstance(value, list | dict) and len(value) > 1 for value in row.values()):
            for field in set(self._checks.nested_fields):
                self._faults.replace(field, f"{_NESTED}{other_layout(row)}")

    def _column_names(self) -> str:
        """The first columns, for a message."""
        names = list(self._checks.columns)
        if not names:
            return "none"
        return ", ".join(map(repr, names[:20])) + (" ..." if len(names) > 20 else "")

    def survey(self) -> Survey:
        """The survey of all rows."""
        return Survey(
            columns=tuple(self._checks.columns),
            lines=self._lines,
            demonstration_bytes=self._demonstration_bytes,
            groups=self._related.groups(),
            relations=self._related.counts(),
            sample=tuple(self._sample),
            texts=None if self._all_texts is None else tuple(self._all_texts),
            first_texts=tuple(self._first_texts),
            endings=self._endings,
            repeated_texts=len(self._lines) - len(self._texts),
            satisfiability=self._satisfiability,
            rows_lacking_their_twin=self._related.rows_lacking_their_twin(),
            texts_with_separator=self._texts_with_separator,
            texts_with_demonstrations=self._texts_with_demonstrations,
            shared_beginnings=self._shared / max(1, self._characters),
            known=self._known,
            gold_rows=self._gold.rows,
            unmatched_gold=self._gold.unmatched,
            special_names=self._special_names,
            said_missing=self._said_missing,
            assumptions=self._faults.assumptions,
            arrow_schema=self._faults.arrow_schema,
        )


class _RowChecks:
    """Checks each row by itself: its columns, values, text and known label, and that its id is unique."""

    def __init__(self, task: Task, faults: FaultLog) -> None:
        self.columns: dict[str, None] = {}
        self.only_row: Mapping[str, Any] | None = None  # None if there are several
        self.nested_fields: list[str] = []  # of the task, in which the only row has a list or an object
        self._rows = 0
        self._refused: set[str] = set()  # reserved names, which are reported only once
        self._id_field, self._gold_field = task.id_field, task.gold_field
        self._fields, self._template_fields = task.fields, set(template_fields(task.template))
        self._reference_fields = task.reference_fields
        self._known_labels, self._known_field = KnownLabels(task), task.known_field
        named = (*task.fields, task.id_field, task.gold_field, task.known_field)
        self.named = tuple(dict.fromkeys(f for f in named if f is not None))
        self._faults = faults
        self._line_of_id: dict[str, int] = {}

    def passes(self, row: SourceRow) -> bool:
        """Whether the row can be used; adds its faults to the log."""
        before = len(self._faults)
        self.only_row = None if self._rows else row.fields
        self._rows += 1
        if not row.fields.keys() <= self.columns.keys():
            self._check_columns(row)
        for field in self._fields:
            self._check_value(row, field)
        if self._template_fields and len(self._faults) == before:
            self._check_text(row)
        if self._id_field is not None:
            self._check_id(row, self._id_field)
        if self._gold_field is not None and isinstance(row.fields.get(self._gold_field), list | dict):
            self._fault(row, self._gold_field, "gold must be text, a number or true/false")
        try:
            self._known_labels.of(row.fields)
        except NoSuchLabel as error:
            self._fault(row, self._known_field, str(error))
        return len(self._faults) == before

    def _fault(self, row: SourceRow, field: str | None, message: str) -> None:
        self._faults.add(message, line=row.line, field=field)

    def _check_columns(self, row: SourceRow) -> None:
        for name in row.fields:
            if name in self.columns or name in self._refused:
                continue
            if name in RESULT_COLUMNS:
                self._refused.add(name)
                self._fault(row, name, _RESERVED)
            elif not name.strip() or "\0" in name:
                self._fault(row, None, f"{name!r} cannot be the name of a column")
            elif len(name) > MAX_COLUMN_NAME_CHARACTERS:
                self._fault(row, None, f"a column's name has more than {MAX_COLUMN_NAME_CHARACTERS} characters")
            elif len(self.columns) >= MAX_COLUMNS:
                self._fault(row, None, f"more than {MAX_COLUMNS} columns")
                return
            else:
                self.columns[name] = None

    def _check_value(self, row: SourceRow, field: str) -> None:
        value = row.fields.get(field)
        if value is None:
            if field in row.fields and field not in self._template_fields:
                return  # the relation ignores a row whose column is null
            message = (
                "the field is null"
                if field in row.fields
                else f"the field is missing{other_spelling(field, row.fields)}"
            )
            self._fault(row, field, f"{message}, but the task reads it; fill it in, or leave the row out")
        elif isinstance(value, list | dict) and field not in self._reference_fields:
            self._fault(row, field, _NESTED)
            self.nested_fields = [*self.nested_fields, field] if self.only_row is not None else []

    def _check_text(self, row: SourceRow) -> None:
        if not all(is_blank(row.fields[field]) for field in self._template_fields):
            return
        one, *others = (field for field in self._fields if field in self._template_fields)
        blank = "the field is blank" if not others else f"all fields of the template are blank: {[one, *others]}"
        self._fault(row, one, f"{blank}, so that there is nothing to label; fill it in, or leave the row out")

    def _check_id(self, row: SourceRow, field: str) -> None:
        value = row.fields.get(field)
        if is_blank(value) or isinstance(value, list | dict):
            self._fault(row, field, "the id is missing, or is not text or a number")
            return
        row_id = as_text(value)
        if len(row_id) > MAX_ID_CHARACTERS:
            self._fault(row, field, f"the id has more than {MAX_ID_CHARACTERS} characters")
            return
        first = self._line_of_id.setdefault(row_id, row.line)
        if first != row.line:
            message = f"the id {row_id!r} was used before, on line {first}"
            self._faults.add(message, line=row.line, field=field, cause="the id was used before")
