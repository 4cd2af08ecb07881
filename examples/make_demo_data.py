"""Write examples/demo.jsonl: claims of six tasks, with the columns that relations need and a gold label.

`python -m examples.make_demo_data` always writes the same file.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

from inference.pretraining.world import TASKS, Claim, Task

DATA = Path(__file__).with_name("demo.jsonl")
ROWS_PER_TASK = 48
_SEED = 1


@dataclass(frozen=True)
class Reading:
    """Templates over the slots of a task's claims: a question, its answer, and the two things that a claim relates."""

    question: str
    answer: str
    first: str
    second: str
    has_twins: bool = False  # whether swapping first and second turns the claim around


_LARGER = Reading("Which is larger, {low} or {high}?", "{first}", "{first}", "{second}", has_twins=True)
READINGS: Mapping[str, Reading] = {
    "comparisons_digits": _LARGER,
    "comparisons_words": _LARGER,
    "additions": Reading("What is {first} + {second}?", "{total}", "{first} + {second}", "{total}"),
    "capitals": Reading("What is the capital of {country}?", "{city}", "{city}", "{country}"),
    "cities": Reading("Which country is {city} in?", "{country}", "{city}", "{country}"),
    "spanish": Reading("What does '{word}' mean?", "{meaning}", "{word}", "{meaning}"),
}


def demo_rows() -> list[dict[str, str | bool]]:
    """Draw all rows and mix the tasks. Half of the claims are true, and some questions have two answers."""
    rng = Random(_SEED)
    rows = [row for task in TASKS for row in task_rows(task, rng, ROWS_PER_TASK)]
    rng.shuffle(rows)
    return [{"id": f"{number:03d}", **row} for number, row in enumerate(rows)]


def task_rows(task: Task, rng: Random, count: int) -> list[dict[str, str | bool]]:
    """Different rows of one task; the rows about one question follow each other."""
    reading = READINGS[task.name]
    rows: dict[tuple[str, str], dict[str, str | bool]] = {}
    while len(rows) < count:
        for claim in _claims_on_one_question(task, reading, rng):
            row = _row(task, reading, claim)
            rows.setdefault((str(row["question"]), str(row["answer"])), row)
    return list(rows.values())[:count]


def _claims_on_one_question(task: Task, reading: Reading, rng: Random) -> Iterator[Claim]:
    """Yield a claim and its swapped twin; or a true claim, a false one, or one of each."""
    claim = task.draw(rng, rng.random() < 0.5)
    yield claim
    if reading.has_twins:
        first, second = claim.slots["first"], claim.slots["second"]
        yield Claim({**claim.slots, "first": second, "second": first}, not claim.truth)
    elif rng.random() < 0.6:
        rival = task.draw(rng, not claim.truth)
        while _question(reading, rival) != _question(reading, claim):
            rival = task.draw(rng, not claim.truth)
        yield rival


def _row(task: Task, reading: Reading, claim: Claim) -> dict[str, str | bool]:
    text = task.statements[0].format(**claim.slots)
    return {
        "task": task.name,
        "claim": f"{text[0].upper()}{text[1:]}.",
        "question": _question(reading, claim),
        "answer": reading.answer.format(**claim.slots),
        "first": reading.first.format(**claim.slots),
        "second": reading.second.format(**claim.slots),
        "gold": claim.truth,
    }


def _question(reading: Reading, claim: Claim) -> str:
    low, high = sorted((claim.slots.get("first", ""), claim.slots.get("second", "")))
    return reading.question.format(**claim.slots, low=low, high=high)


def main() -> None:
    """Write the file."""
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in demo_rows())
    DATA.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
