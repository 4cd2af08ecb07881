from pathlib import Path

import pytest

from benchmarks.recording import Recorder
from benchmarks.servers import computed_each
from benchmarks.vllm_server import PromptTokens, read_block, read_counters, served_name
from service.identifiers import Row
from service.scoring.deterministic import DeterministicScorer
from service.search.predictions.prompt_tree import PromptTree, Query

LABELS = ("True", "False")
METRICS = """# TYPE vllm:prefix_cache_queries_total counter
vllm:prefix_cache_queries_total{engine="0",model_name="small_model"} 1.0167e+04
vllm:prefix_cache_queries_total{engine="1",model_name="small_model"} 33.0
vllm:prefix_cache_queries_created{engine="0",model_name="small_model"} 1.795640137226015e+09
vllm:prefix_cache_hits_total{engine="0",model_name="small_model"} 4480.0
vllm:external_prefix_cache_queries_total{engine="0",model_name="small_model"} 7.0
vllm:external_prefix_cache_hits_total{engine="0",model_name="small_model"} 5.0
vllm:cache_config_info{_block_size_resolved="True",block_size="128",mamba_block_size="None"} 1.0
"""


def tree(*claims: str) -> PromptTree:
    return PromptTree("a. True\n\n", tuple(Query(Row(place), claim) for place, claim in enumerate(claims)))


def test_the_counters_of_all_engines_are_added_up() -> None:
    assert read_counters(METRICS) == PromptTokens(sent=10_200, cached=4_480)
    assert read_counters(METRICS).since(PromptTokens(200, 80)) == PromptTokens(10_000, 4_400)
    assert PromptTokens(10_000, 4_400).computed == 5_600


def test_the_size_of_a_block_is_read_and_never_guessed() -> None:
    assert read_block(METRICS) == 128
    with pytest.raises(ValueError, match="cache_config_info"):
        read_block("")


def test_vllm_serves_a_folder_or_hub_name_under_its_last_part() -> None:
    found = [served_name(Path(model)) for model in ("inference/small_model", "/models/gemma/", "google/gemma-3-270m")]
    assert found == ["small_model", "gemma", "gemma-3-270m"]


@pytest.mark.parametrize(
    ("block", "computed"),
    [
        (1, [6, 1, 2, 1]),  # the last token of the second is known, and computed all the same
        (2, [6, 2, 2, 2]),
        (4, [6, 2, 4, 2]),
        (8, [6, 6, 8, 6]),
    ],
)
def test_blocks_that_were_seen_whole_are_not_computed_again(block: int, computed: list[int]) -> None:
    prompts = [[1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 3, 4, 5, 9]]
    assert list(computed_each(prompts, block)) == computed


async def test_answers_are_passed_on_and_kept_by_prompt() -> None:
    scorer, recorder = DeterministicScorer(), Recorder(DeterministicScorer())
    expected = await scorer.score(tree("b", "c"), LABELS)
    assert await recorder.score(tree("b", "c"), LABELS) == expected
    assert recorder.asked == ["a. True\n\nb", "a. True\n\nc"]
    assert list(recorder.scores.values()) == list(expected.log_probabilities.values())
    assert recorder.usage == expected.usage


async def test_two_recordings_differ_by_the_largest_distance_over_prompts_that_both_have() -> None:
    one, other = Recorder(DeterministicScorer()), Recorder(DeterministicScorer(oracle=lambda text, classes: 0))
    await one.score(tree("b", "c", "d"), LABELS)
    await other.score(tree("c", "d", "e"), LABELS)
    common, nats = one.difference(other)
    assert common == 2
    assert nats == max(
        abs(first - second)
        for prompt in ("a. True\n\nc", "a. True\n\nd")
        for first, second in zip(one.scores[prompt], other.scores[prompt], strict=True)
    )
    assert one.difference(one) == (3, 0.0)
    assert one.difference(Recorder(DeterministicScorer())) == (0, 0.0)
