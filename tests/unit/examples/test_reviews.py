import json
import sys
from collections import Counter

import orjson
import pytest

from api.labelling.configuration import parse_config
from examples.demo import HERE, main

ROWS = [json.loads(line) for line in (HERE / "reviews.jsonl").read_text(encoding="utf-8").splitlines()]
TASK = parse_config(orjson.loads((HERE / "reviews.json").read_text(encoding="utf-8"))).task


def test_the_reviews_are_different_and_half_of_them_positive() -> None:
    assert len({row["review"] for row in ROWS}) == len(ROWS) == 64
    assert Counter(row["gold"] for row in ROWS) == dict.fromkeys(TASK.labels, 32)


def test_no_review_names_a_label() -> None:
    assert [row for row in ROWS for label in TASK.labels if label in row["review"].lower()] == []


def test_every_column_that_the_configuration_names_is_there() -> None:
    assert {*TASK.fields, TASK.id_field, TASK.gold_field} <= set(ROWS[0])


def test_without_a_language_model_the_demo_says_what_to_give(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["demo", "--example", "reviews", "--model", ""])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "make demo-real MODEL=" in capsys.readouterr().err
