"""Rows to be scored once the training is over: prompts without labels, each with an id to know it by."""

from dataclasses import dataclass
from pathlib import Path

from training.data.rows import Fields, read_rows, refused
from training.errors import Refused

SCORE = "score"  # the field of the specification
_WANTED: Fields = {"prompt": (str,)}
_OPTIONAL: Fields = {"id": (str,)}


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt whose label is asked for; without an id it is known by its line."""

    line: int
    prompt: str
    id: str


def read_questions(path: Path) -> list[Question]:
    """The prompts of a JSONL file. Raises Refused."""
    asked: list[Question] = []
    for line, row in read_rows(path, _WANTED, _OPTIONAL, SCORE):
        if not row["prompt"]:
            raise refused(line, "prompt: must not be empty", SCORE)
        asked.append(Question(line, row["prompt"], row.get("id", str(line))))
    if not asked:
        raise Refused(f"{SCORE}: {str(path)!r} has no rows; leave the field out where nothing is to be scored")
    return asked
