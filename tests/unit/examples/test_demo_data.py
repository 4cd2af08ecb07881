import json
from collections import Counter
from pathlib import Path

import orjson

from api.labelling.configuration import parse_config
from examples.make_demo_data import DATA, demo_rows

ROWS = [json.loads(line) for line in DATA.read_text(encoding="utf-8").splitlines()]
CONFIG = parse_config(orjson.loads(Path(DATA).with_name("demo.json").read_text(encoding="utf-8")))


def test_the_file_is_what_its_script_writes() -> None:
    assert demo_rows() == ROWS


def test_there_are_rows_of_several_tasks_about_half_of_them_true() -> None:
    assert len(ROWS) >= 256
    assert len({row["task"] for row in ROWS}) >= 4
    for task in {row["task"] for row in ROWS}:
        gold = Counter(row["gold"] for row in ROWS if row["task"] == task)
        assert 0.35 < gold[True] / gold.total() < 0.65, task


def test_every_column_that_the_configuration_names_is_there() -> None:
    assert {*CONFIG.task.fields, CONFIG.task.id_field, CONFIG.task.gold_field} <= set(ROWS[0])


def test_gold_keeps_the_relations() -> None:
    true_answers = Counter((row["task"], row["question"]) for row in ROWS if row["gold"])
    assert max(true_answers.values()) == 1
    twins = {(row["task"], row["first"], row["second"]): row["gold"] for row in ROWS}
    pairs = [(gold, twins[task, b, a]) for (task, a, b), gold in twins.items() if (task, b, a) in twins]
    assert len(pairs) == 96
    assert all(gold is not swapped for gold, swapped in pairs)
