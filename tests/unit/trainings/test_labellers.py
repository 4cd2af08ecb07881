"""A base is compared with the models that labelled the jobs, by whatever their servers said of themselves."""

import pytest

from service.identifiers import JobId
from service.records.trainings import BaseIdentity
from service.trainings.base_checks import warnings_of_base

FOLDER = BaseIdentity("SmolLM2-135M", "a" * 64)
HUB = BaseIdentity("HuggingFaceTB/SmolLM2-135M", "a" * 64, "c" * 40)


def warned(fingerprint: str, base: BaseIdentity) -> tuple[str, ...]:
    return warnings_of_base({JobId("job_1"): fingerprint}, "default", base)


@pytest.mark.parametrize(
    ("fingerprint", "base"),
    [
        (f"embedded|model|{'a' * 64}|0.1", FOLDER),  # the same files under another name
        (f"embedded|model|{'c' * 40}|0.1", HUB),
        (f"tgi|HuggingFaceTB/SmolLM2-135M|{'c' * 40}|3.3.7", FOLDER),  # a folder has no revision
        ("vllm|HuggingFaceTB/SmolLM2-135M|None|0.33", HUB),
        ("vllm|served|/models/SmolLM2-135M|0.33", FOLDER),
        ("sglang|/models/smollm2-135m|default 3|0.5", FOLDER),
        ("llamacpp|SmolLM2-135M-Q8_0.gguf|None|b10257", FOLDER),
        ("tgi|None|None|None", FOLDER),
        ("deterministic", FOLDER),
        ("", FOLDER),
    ],
)
def test_what_may_be_the_same_language_model_is_not_warned_of(fingerprint: str, base: BaseIdentity) -> None:
    assert warned(fingerprint, base) == ()


@pytest.mark.parametrize(
    ("fingerprint", "base", "told"),
    [
        (f"embedded|SmolLM2-135M|{'b' * 64}|0.1", FOLDER, "is not 'SmolLM2-135M', bbbbbbbbbbbb"),
        (f"embedded|SmolLM2-135M + claims|{'b' * 64}|0.1", FOLDER, "is not 'SmolLM2-135M + claims', bbbbbbbbbbbb"),
        (f"embedded|SmolLM2-135M|{'d' * 40}|0.1", HUB, "cccccccccccc) is not 'SmolLM2-135M', dddddddddddd"),
        (f"tgi|Qwen/Qwen2.5-7B|{'d' * 40}|3.3.7", FOLDER, "seems not to be 'Qwen/Qwen2.5-7B'"),
        ("vllm|Qwen/Qwen2.5-7B|None|0.33", HUB, "seems not to be 'Qwen/Qwen2.5-7B'"),
        ("vllm|odd|name|None|0.33", FOLDER, "seems not to be 'odd|name'"),
    ],
)
def test_another_language_model_is_named_with_what_it_was_known_by(
    fingerprint: str, base: BaseIdentity, told: str
) -> None:
    [warning] = warned(fingerprint, base)
    assert told in warning
    assert "job_1" in warning
    assert "the base 'default'" in warning


@pytest.mark.parametrize("fingerprint", ["vllm|other|/srv/secret/it|0.33", "vllm|/srv/secret/other|None|0.33"])
def test_messages_leave_out_paths_of_the_servers_machine(fingerprint: str) -> None:
    [warning] = warned(fingerprint, FOLDER)
    assert "/srv" not in warning
    assert "seems not to be 'other'" in warning


def test_jobs_of_one_model_are_named_together_and_those_of_the_base_not_at_all() -> None:
    labelled_by = {JobId(f"job_{number}"): f"embedded|m|{'ab'[number > 0] * 64}|0.1" for number in range(6)}
    [warning] = warnings_of_base(labelled_by, "default", FOLDER)
    assert "which labelled 5 jobs (job_1, job_2, job_3, ...):" in warning
