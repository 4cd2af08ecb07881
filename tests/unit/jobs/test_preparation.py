from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from service.config import JobConfig
from service.errors import BackendRefused, BackendUnavailable, InvalidDataset, ModelNotFound
from service.jobs.checks.rows import RowSource
from service.jobs.submission.preparation import Preparation, prepare
from service.ports.scoring import Scorer
from service.records.scoring import BackendInfo
from service.scoring.registry import ConfiguredScorers
from tests.support.sources import CountingScorer, config, source


async def prepared(scorer: Scorer, chosen: JobConfig, rows: RowSource) -> Preparation:
    return await prepare(chosen, rows, ConfiguredScorers({"default": scorer}))


async def test_an_unknown_model_is_told() -> None:
    with pytest.raises(ModelNotFound):
        await prepare(config(), source({"q": 1}), ConfiguredScorers({}))


async def test_a_backend_that_cannot_score_the_labels_is_refused_with_its_reason() -> None:
    with pytest.raises(BackendRefused, match="merges the label"):
        await prepared(CountingScorer(problems=["merges the label"]), config(), source({"q": 1}))


async def test_a_backend_that_does_not_answer_is_unavailable() -> None:
    with pytest.raises(BackendUnavailable, match="refused"):
        await prepared(CountingScorer(problems=["refused"], reachable=False), config(), source({"q": 1}))


async def test_advice_about_the_backend_is_kept_and_stops_nothing() -> None:
    found = await prepared(CountingScorer(advice=["set a flag"]), config(), source({"q": 1}))
    assert found.advice == ("set a flag",)


SPECIAL = [{"q": "a </s> b"}, {"q": "<|im_end|>"}, {"q": "a <b> c [x]"}, *[{"q": f"</s>[INST] {n}"} for n in range(6)]]


class Tgi(CountingScorer):
    """Reads some names as one token, and says of what kind it is."""

    async def probe(self, *_: Any, **__: Any) -> BackendInfo:
        return replace(await super().probe(), kind="tgi")

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [1 if text in {"</s>", "[INST]"} else 5 for text in texts]


async def test_rows_that_a_server_misreads_are_warned_of_by_line() -> None:
    warnings = (await prepared(Tgi(), config(), source(*SPECIAL))).label_warnings
    told = [warning for warning in warnings if "special token" in warning]
    assert [warning.partition(", which")[0] for warning in told] == [
        "7 rows hold '</s>' (lines 1, 4, 5, 6, 7 and more)",
        "6 rows hold '[INST]' (lines 4, 5, 6, 7, 8 and more)",
    ]
    assert all("take it out of them" in warning for warning in told)


async def test_other_servers_read_rows_as_text() -> None:
    found = await prepared(CountingScorer(), config(), source(*SPECIAL))
    assert not any("special token" in warning for warning in found.label_warnings)


async def test_a_backend_that_hides_its_context_is_refused() -> None:
    with pytest.raises(BackendRefused, match="how many tokens"):
        await prepared(CountingScorer(None), config(), source({"q": 1}))


async def test_bad_rows_are_told_before_the_backend_is_asked() -> None:
    with pytest.raises(InvalidDataset):
        await prepared(CountingScorer(problems=["down"]), config(), source({"x": 1}))


async def test_a_small_data_set_is_counted_exactly() -> None:
    found = await prepared(CountingScorer(), config(), source({"q": "a b c"}, {"q": "d"}))
    assert list(found.lengths.demonstrations) == [5, 3]


async def test_a_row_that_does_not_fit_the_context_is_told_with_its_tokens() -> None:
    rows = source({"q": "short"}, {"q": "w " * 100}, {"q": "w " * 50})
    with pytest.raises(InvalidDataset) as caught:
        await prepared(CountingScorer(60), config(), rows)
    [fault] = caught.value.faults
    assert fault.line == 2
    assert "102 tokens" in fault.message
    assert "reads 60 at once" in fault.message


@pytest.mark.parametrize("method", ["icm", "zero_shot"])
async def test_a_row_that_leaves_little_room_for_an_anchor_is_taken(method: str) -> None:
    chosen = JobConfig.model_validate({**config().model_dump(), "method": method})
    rows = source(*({"q": f"word {number}"} for number in range(300)), {"q": "w " * 80})
    assert (await prepared(CountingScorer(100), chosen, rows)).survey.rows == 301


async def test_of_a_large_data_set_only_a_sample_and_the_long_rows_are_counted() -> None:
    scorer = CountingScorer(4_000)
    long = "word " * 900  # more bytes than the context has tokens
    found = await prepared(scorer, config(), source(*({"q": f"word {n}"} for n in range(2_500)), {"q": long}))
    assert len(scorer.counted) == 256 + 1 + 2 + 3  # and what texts begin with, what follows them, and the labels
    assert found.lengths.demonstrations[2_500] == 902
    assert all(4 <= tokens <= 12 for tokens in found.lengths.demonstrations[:2_500])
