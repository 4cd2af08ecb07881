import pytest

from api.labelling.configuration import parse_config
from service.errors import InvalidConfig
from service.presets import Preset


@pytest.mark.parametrize("preset", list(Preset))
def test_a_preset_is_a_whole_task(preset: Preset) -> None:
    config = parse_config({"preset": preset.value})
    assert config.task.labels == ["True", "False"]
    assert config.task.relations


def test_the_tasks_own_fields_win_over_the_preset() -> None:
    config = parse_config({"preset": "gsm8k", "task": {"relations": [], "gold_field": "label"}})
    assert config.task.relations == []
    assert config.task.template.startswith("Question: {question}")
    assert config.task.gold_field == "label"


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(InvalidConfig) as caught:
        parse_config({"preset": "mnli", "task": {"template": "{a}"}})
    assert [fault.field for fault in caught.value.faults] == ["preset"]


def test_a_config_that_was_filled_in_is_read_back_equal() -> None:
    config = parse_config({"preset": "comparison"})
    assert parse_config(config.as_json()) == config
