"""Submission tells what the base's own files say against a training, which only its worker would find out otherwise."""

import json
from pathlib import Path
from typing import Any

import pytest

from inference.settings import SMALL_MODEL
from service.errors import Fault, InvalidConfig
from service.training_process.bases import BasesOnDisk
from service.trainings.base_checks import doubts_of_fit
from service.trainings.request import parse_request
from service.trainings.rows import LONGEST, Written
from training.base import find_base, load_tokenizer
from training.errors import Refused
from training.policy.sampling import ending_of

BASES = BasesOnDisk({"small": str(SMALL_MODEL), "away": "/nowhere/on/this/machine"})
STOPS = ("\n", ".", "\n\n", " the", "###", "</s>", "END OF ANSWER", "\u00e9", "?!", "a")


def written(*texts: str, **others: str) -> Written:
    counted = Written()
    for number, text in enumerate(texts):
        counted.add({"prompt": text, "group": str(number), "id": f"r{number}", **others})
    return counted


def policy(**settings: Any) -> dict[str, Any]:
    return {"kind": "policy", "policy": {"reward": "train_" + "0" * 32, **settings}}


async def doubts(rows: Written, base: str = "small", **changes: Any) -> tuple[str, ...]:
    return await doubts_of_fit(parse_request({"job_ids": ["job_0"], **changes}), base, BASES, rows)


async def faults(rows: Written, base: str = "small", **changes: Any) -> tuple[Fault, ...]:
    with pytest.raises(InvalidConfig) as refused:
        await doubts(rows, base, **changes)
    return refused.value.faults


async def test_a_stop_of_several_tokens_is_refused_by_its_field_with_their_number() -> None:
    [fault] = await faults(written("Why?"), **policy(stop="END OF ANSWER"))
    assert fault.field == "policy.stop"
    assert "'END OF ANSWER' is " in fault.message
    assert "tokens to the base 'small'; take a text of one token, such as a line break" in fault.message
    assert await doubts(written("Why?"), **policy(stop="\n")) == ()


async def test_the_service_counts_the_tokens_of_a_stop_as_the_training_does() -> None:
    base = find_base(str(SMALL_MODEL), Path())
    tokenizer = load_tokenizer(base)
    for stop in STOPS:
        by_training = by_service = ""
        try:
            ending_of(base, tokenizer, stop, 8)
        except Refused as refused:
            by_training = str(refused).removeprefix("policy.stop: ").partition(" to this base")[0]
        try:
            await doubts(written("Why?"), **policy(stop=stop))
        except InvalidConfig as refused:
            by_service = refused.faults[0].message.partition(" to the base")[0]
        assert by_service == by_training, stop


@pytest.mark.parametrize("tokens", [4096, 1_000_000])
async def test_completions_as_long_as_the_context_are_refused(tokens: int) -> None:
    [fault] = await faults(written("Why?"), **policy(completion_tokens=tokens))
    assert fault.field == "policy.completion_tokens"
    assert fault.message == "leaves no room for a prompt: the base 'small' reads 4096 tokens at once"


async def test_a_prompt_that_leaves_no_room_for_its_completion_is_named() -> None:
    rows = written("Why?", "a b c d e f g h " * 500, "How?")
    [fault] = await faults(rows, **policy(completion_tokens=200))
    assert fault.field == "policy.completion_tokens"
    assert "the context of the base 'small' is 4096 tokens, of which the prompt of row 'r1' takes " in fault.message
    assert "and its completion up to 200; lower completion_tokens" in fault.message


@pytest.mark.parametrize(
    ("others", "changes"), [({"label": "True"}, {}), ({"chosen": "yes", "rejected": "no"}, {"kind": "reward"})]
)
async def test_a_row_over_the_context_of_the_base_is_named(others: dict[str, str], changes: dict[str, Any]) -> None:
    [fault] = await faults(written("Why?", "a b c d e f g h " * 600, **others), **changes)
    assert fault.field == "base"
    assert "the context of the base 'small' is 4096 tokens, and row 'r1' takes " in fault.message


async def test_the_longest_rows_are_kept_whatever_their_order() -> None:
    kept = written(*("x" * size for size in (5, 90, 7, *range(20, 40), 60))).longest
    assert [len(row["prompt"]) for row in kept] == [90, 60, 39, 38, 37, 36, 35, 34]
    assert len(kept) == LONGEST


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"rank": 193}, "rank 193 is more than the 192 that the layers of the base 'small' are wide"),
        ({"learning_rate": 0.5}, "learning_rate 0.5 is 500 times the usual 0.001"),
        ({"learning_rate": 0.01, "method": "full"}, "learning_rate 0.01 is 1,000 times the usual 1e-05"),
        (policy() | {"learning_rate": 0.01}, "learning_rate 0.01 is 100 times the usual 0.0001"),
    ],
)
async def test_unlikely_sizes_and_rates_are_warned_of(changes: dict[str, Any], told: str) -> None:
    [doubt] = await doubts(written("Why?"), **changes)
    assert doubt.startswith(told)


async def test_usual_sizes_and_rates_are_not() -> None:
    for changes in ({"rank": 192}, {"learning_rate": 0.01}, {"learning_rate": 1e-4, "method": "full"}, policy()):
        assert await doubts(written("Why?"), **changes) == ()


async def test_a_base_that_only_workers_can_read_is_not_judged(tmp_path: Path) -> None:
    assert await doubts(written("x " * 9000), "away", **policy(stop="END OF ANSWER")) == ()
    (tmp_path / "config.json").write_text(json.dumps({"text_config": {"n_positions": 64}}))
    bases = BasesOnDisk({"bare": str(tmp_path)})
    request = parse_request({"job_ids": ["job_0"], **policy(stop="END OF ANSWER", completion_tokens=16)})
    assert await doubts_of_fit(request, "bare", bases, written("x " * 9000)) == ()
    request = parse_request({"job_ids": ["job_0"], **policy(completion_tokens=64)})
    with pytest.raises(InvalidConfig):
        await doubts_of_fit(request, "bare", bases, written("x"))
