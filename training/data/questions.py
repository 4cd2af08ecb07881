"""Rows to score after the training: prompts without labels, each with an id."""

from dataclasses import dataclass
from pathlib import Path

from training.data.rows import Fields, read_rows, refused
from training.errors import Refused

SCORE = "score"  # the field of the specification
_WANTED: Fields = {"prompt": (str,)}
_OPTIONAL: Fields = {"id": (str,)}


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt to score the labels of; without an id in the file, its line is its id."""

    line: int
    prompt: str
    id: str


def read_questions(path: Path) -> list[Question]:
    """The prompts of a JSONL file. Raises Refused."""
    questions: list[Question] = []
    for line, row in read_rows(path, _WANTED, _OPTIONAL, SCORE):
        if not row["prompt"]:
            raise refused(line, "prompt: must not be empty", SCORE)
        questions.append(Question(line, row["prompt"], row.get("id", str(line))))
    if not questions:
        raise Refused(f"{SCORE}: {str(path)!r} has no rows; leave the field out if there is nothing to score")
    return questions
