"""Published data sets become rows that the presets fit."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from api.labelling.configuration import parse_config
from icm.cli import build_app
from icm.data.conversion import final_answer

HEADER = "Type,Category,Question,Best Answer,Correct Answers,Incorrect Answers,Source\n"
TRUTHFUL = (
    HEADER + 'Adversarial,Science,"What, if anything, are seeds?","Food, mostly","Food, mostly; Seeds grow.",'
    '"They kill; They grow; food, mostly.; They kill; they grow.",https://example.org\n'
)
SOLVED = {
    "question": "How many?",
    "ground_truth": "It is 2*500 = <<2*500=1000>>1000\n#### 1,000",
    "6b_finetuning": {"solution": "2*500 = <<2*500=1000>>1000\n#### 1,000", "is_correct": True},
    "6b_verification": {"solution": "A: no. It is 2\nA: 1000.0 of 7", "is_correct": True},
    "175b_finetuning": {"solution": "It is 999.50", "is_correct": False},
    "175b_verification": {"solution": "I do not know.", "is_correct": False},
}
LISTED = {"question": "How many?", "answer": "#### 7", "solutions": ["3 + 4 = 7", {"solution": "#### 8.0"}]}


def convert(folder: Path, preset: str, content: str) -> Result:
    (folder / "published").write_text(content, encoding="utf-8-sig")
    words = ["convert", preset, str(folder / "published"), "-o", str(folder / "rows.jsonl")]
    return CliRunner().invoke(build_app(), words, env={"COLUMNS": "300"})


def rows_of(folder: Path, preset: str, content: str) -> list[dict[str, Any]]:
    done = convert(folder, preset, content)
    assert done.exit_code == 0, done.stderr
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    config = parse_config({"preset": preset, "task": {"gold_field": "label", "id_field": "id"}})
    assert all({*config.task.fields, "id", "label"} <= row.keys() for row in rows)
    assert len({row["id"] for row in rows}) == len(rows)
    assert {row["label"] for row in rows} <= {*config.task.labels, None}
    return rows


def test_of_truthfulqa_the_best_answer_is_true_and_each_incorrect_one_false_once(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, "truthfulqa", TRUTHFUL)
    assert {row["question"] for row in rows} == {"What, if anything, are seeds?"}
    assert [(row["choice"], row["label"]) for row in rows] == [
        ("Food, mostly", "True"),
        ("They kill", "False"),
        ("They grow", "False"),
    ]


def test_of_gsm8k_each_models_solution_is_a_row_with_its_final_answer(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, "gsm8k", f"{json.dumps(SOLVED)}\n\n{json.dumps(LISTED)}\n")
    assert [(row["solution"], row["answer"], row["label"]) for row in rows] == [
        ("2*500 = 1000\n#### 1,000", "1000", "True"),
        ("A: no. It is 2\nA: 1000.0 of 7", "1000", "True"),
        ("It is 999.50", "999.5", "False"),
        ("3 + 4 = 7", "7", "True"),
        ("#### 8.0", "8", "False"),
    ]


@pytest.mark.parametrize(
    ("solution", "answer"),
    [
        ("#### -1,234", "-1234"),
        ("x = 5 and 6.", "6"),
        ("#### 3.50 dollars", "3.5"),
        ("100", "100"),
        ("none", None),
        ("16-3", "3"),
        ("A: five", None),
    ],
)
def test_final_answers_have_one_form(solution: str, answer: str | None) -> None:
    assert final_answer(solution) == answer


@pytest.mark.parametrize(
    ("preset", "content", "told"),
    [
        ("truthfulqa", "question,choice\na,b\n", "has no column 'Question': give TruthfulQA.csv"),
        ("truthfulqa", f"{HEADER}a,b,Why?\n", "line 2: Question and Best Answer must not be blank"),
        ("truthfulqa", "", "has no column 'Question'"),
        ("gsm8k", '{"question": "q", "answer": "#### 7"}', "line 1 has no solutions of models"),
        ("gsm8k", '\n{"q": 1}', 'line 2: an object with a "question" is needed'),
        ("gsm8k", "question,answer", "line 1: an object"),
        ("gsm8k", "\n \n", "has no row for the preset gsm8k"),
        ("gsm8k", '{"question": "q", "a": {"solution": "no idea"}}', "has no row for the preset gsm8k"),
        ("truthfulqa", HEADER, "has no row for the preset truthfulqa"),
    ],
)
def test_another_file_is_refused_with_what_is_missing_and_nothing_is_written(
    preset: str, content: str, told: str, tmp_path: Path
) -> None:
    done = convert(tmp_path, preset, content)
    assert (done.exit_code, told in done.stderr) == (3, True), done.stderr
    assert not (tmp_path / "rows.jsonl").exists()


def test_a_published_file_is_never_written_over(tmp_path: Path) -> None:
    published = tmp_path / "solutions.jsonl"
    published.write_text('{"question": "q", "a": {"solution": "so 7"}}')
    before = published.read_text()
    words = ["convert", "gsm8k", str(published), "-o", str(tmp_path / "." / "solutions.jsonl")]
    done = CliRunner().invoke(build_app(), words, env={"COLUMNS": "300"})
    assert (done.exit_code, "is the published file itself" in done.stderr) == (2, True), done.stderr
    assert published.read_text() == before


def test_a_preset_without_a_published_file_is_refused(tmp_path: Path) -> None:
    assert convert(tmp_path, "comparison", "").exit_code == 2
