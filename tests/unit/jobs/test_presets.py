import pytest
from pydantic import ValidationError

from service.config import JobConfig
from service.presets import Preset


@pytest.mark.parametrize("preset", list(Preset))
def test_a_preset_is_a_whole_task(preset: Preset) -> None:
    config = JobConfig.model_validate({"preset": preset.value})
    assert config.task.labels == ["True", "False"]
    assert config.task.relations


def test_the_tasks_own_fields_win_over_the_preset() -> None:
    config = JobConfig.model_validate({"preset": "gsm8k", "task": {"relations": [], "gold_field": "label"}})
    assert config.task.relations == []
    assert config.task.template.startswith("Question: {question}")
    assert config.task.gold_field == "label"


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(ValidationError, match="preset"):
        JobConfig.model_validate({"preset": "mnli"})


def test_a_config_that_was_filled_in_is_read_back_equal() -> None:
    config = JobConfig.model_validate({"preset": "comparison"})
    assert JobConfig.model_validate_json(config.model_dump_json()) == config
