"""Convert the published data sets of two presets into rows for the presets' templates and relations."""

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from icm.errors import IcmError

_ANSWER_COLUMNS = ("Question", "Best Answer", "Correct Answers", "Incorrect Answers")
_CALCULATION = re.compile(r"<<[^<>]*>>")  # annotations of GSM8K's calculator
_NUMBER = re.compile(r"(?:(?<![\d.)])-)?(?:\d[\d,]*(?:\.\d+)?|\.\d+)")
_MARK = re.compile(r"####|^A:", re.MULTILINE)  # before the final answer, in problems and in models' solutions

Row = dict[str, Any]


class Published(StrEnum):
    """The presets whose published files have another shape."""

    TRUTHFULQA = "truthfulqa"
    GSM8K = "gsm8k"


class NotAsPublished(IcmError):
    """The file is not the published one of the preset's data set; the text names the missing part."""


def converted(preset: Published, path: Path) -> Iterator[Row]:
    """Yield the preset's rows, with a gold column `label`. Raises NotAsPublished, OSError."""
    is_empty = True
    try:
        for row in _READERS[preset](path):
            is_empty = False
            yield row
    except (UnicodeDecodeError, csv.Error) as error:
        raise NotAsPublished(f"{path} is not the published file of {preset}, which is text in UTF-8") from error
    if is_empty:
        raise NotAsPublished(f"{path} has no row for the preset {preset}: give the published file, with its rows")


def final_answer(solution: str) -> str | None:
    """The final number of a solution, in one form: the one behind `####` or `A:`, else the last one, if any."""
    *steps, last = _MARK.split(_CALCULATION.sub("", solution))
    numbers = _NUMBER.findall(last)
    if not numbers:
        return None
    number: str = numbers[0 if steps else -1].replace(",", "")
    return number.rstrip("0").rstrip(".") if "." in number else number


def _truthfulqa(path: Path) -> Iterator[Row]:
    """Yield the best answer, which is true, and the incorrect ones, so that at most one claim of a question is true.

    Leaves out further correct answers: each would be true beside the best one, which the preset's relation excludes.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        missing = [name for name in _ANSWER_COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise NotAsPublished(f"{path} has no column {missing[0]!r}: give TruthfulQA.csv as it is published")
        for number, row in enumerate(reader):
            question, best, right, wrong = ((row[name] or "").strip() for name in _ANSWER_COLUMNS)
            if not (question and best):
                raise NotAsPublished(f"{path}, line {reader.line_num}: Question and Best Answer must not be blank")
            correct = _by_plain_text([best, *_answers(right)])
            false = [text for plain, text in _by_plain_text(_answers(wrong)).items() if plain not in correct]
            for place, choice in enumerate((best, *false)):
                yield {"id": f"{number}-{place}", "question": question, "choice": choice, "label": str(place == 0)}


def _answers(cell: str) -> list[str]:
    return [text.strip() for text in cell.split(";") if text.strip()]


def _by_plain_text(answers: Iterable[str]) -> dict[str, str]:
    """The answers without those that repeat an earlier one, but for capitals and a full stop."""
    distinct: dict[str, str] = {}
    for text in answers:
        distinct.setdefault(text.rstrip(".").casefold(), text)
    return distinct


def _gsm8k(path: Path) -> Iterator[Row]:
    """Yield each model solution of each question, without solutions that have no number."""
    with path.open(encoding="utf-8-sig") as file:
        for line, text in enumerate(file, start=1):
            if text.strip():
                yield from _solutions(_problem(path, line, text), f"{path}, line {line}", line)


def _problem(path: Path, line: int, text: str) -> Mapping[str, Any]:
    try:
        problem = json.loads(text)
    except ValueError:
        problem = None
    if not isinstance(problem, dict) or not isinstance(problem.get("question"), str):
        raise NotAsPublished(f'{path}, line {line}: an object with a "question" is needed, as GSM8K is published')
    return problem


def _solutions(problem: Mapping[str, Any], place: str, line: int) -> Iterator[Row]:
    """Solutions under names of models, each `{"solution": ..., "is_correct": ...}`, or in a list `solutions`."""
    listed = problem.get("solutions")
    found = [*problem.values(), *(listed if isinstance(listed, list) else ())]
    solutions = [each if isinstance(each, dict) else {"solution": each} for each in found if _is_solution(each, listed)]
    if not solutions:
        raise NotAsPublished(
            f"{place} has no solutions of models, only its own: give example_model_solutions.jsonl of GSM8K, "
            'or add a list "solutions"'
        )
    truth = final_answer(str(problem.get("ground_truth") or problem.get("answer") or ""))
    for number, each in enumerate(solutions):
        answer = final_answer(each["solution"])
        if answer is not None:
            solution = _CALCULATION.sub("", each["solution"]).strip()
            row = {"id": f"{line}-{number}", "question": problem["question"], "solution": solution, "answer": answer}
            yield {**row, "label": _gold(each.get("is_correct"), answer, truth)}


def _is_solution(value: Any, listed: Any) -> bool:
    if isinstance(value, dict):
        return isinstance(value.get("solution"), str)
    return isinstance(value, str) and isinstance(listed, list) and value in listed


def _gold(is_correct: object, answer: str, truth: str | None) -> str | None:
    if isinstance(is_correct, bool):
        return str(is_correct)
    return None if truth is None else str(answer == truth)


_READERS: dict[Published, Callable[[Path], Iterator[Row]]] = {
    Published.TRUTHFULQA: _truthfulqa,
    Published.GSM8K: _gsm8k,
}
