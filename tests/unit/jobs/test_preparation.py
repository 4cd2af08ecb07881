from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from api.labelling.configuration import parse_config
from service.config import JobConfig
from service.errors import BackendRefused, BackendUnavailable, InvalidDataset, ModelNotFound
from service.jobs.checks.rows import FaultLog, RowSource, SourceRow
from service.jobs.submission.preparation import Preparation, prepare
from service.ports.scoring import Scorer
from service.records.scoring import BackendInfo
from service.scoring.registry import ConfiguredScorers
from tests.support.sources import CountingScorer, config, source


async def prepared(scorer: Scorer, chosen: JobConfig, rows: RowSource) -> Preparation:
    return await prepare(chosen, rows, ConfiguredScorers({"default": scorer}))


async def test_an_unknown_model_is_reported() -> None:
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
    """A tokenizer that reads some names as one token, and reports its kind."""

    async def probe(self, *_: Any, **__: Any) -> BackendInfo:
        return replace(await super().probe(), kind="tgi")

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [1 if text in {"</s>", "[INST]"} else 5 for text in texts]


async def test_rows_that_a_server_misreads_are_refused_by_line() -> None:
    with pytest.raises(InvalidDataset, match="13 faults") as refused:
        await prepared(Tgi(), config(), source(*SPECIAL))
    told = [
        (fault.line, fault.message.partition(", ")[0], fault.message.partition("; likewise ")[2])
        for fault in refused.value.faults
    ]
    assert told == [
        (1, "holds '</s>'", "on 7 lines: 1, 4, 5 and 4 more"),
        (4, "holds '[INST]'", "on 6 lines: 4, 5, 6 and 3 more"),
    ]
    assert all("take it out of the row, or use another kind of server" in one.message for one in refused.value.faults)


async def test_a_special_token_that_the_template_writes_is_warned_of() -> None:
    found = await prepared(Tgi(), config(template="[INST] {q}"), source({"q": "a"}, {"q": "b"}))
    [told] = [warning for warning in found.label_warnings if "special token" in warning]
    assert told.startswith("the template writes '[INST]', which text-generation-inference reads as a special token")


async def test_other_servers_read_rows_as_text() -> None:
    found = await prepared(CountingScorer(), config(), source(*SPECIAL))
    assert not any("special token" in warning for warning in found.label_warnings)


async def test_a_backend_that_hides_its_context_is_refused() -> None:
    with pytest.raises(BackendRefused, match="how many tokens"):
        await prepared(CountingScorer(None), config(), source({"q": 1}))


async def test_bad_rows_are_reported_before_the_backend_is_asked() -> None:
    with pytest.raises(InvalidDataset):
        await prepared(CountingScorer(problems=["down"]), config(), source({"x": 1}))


async def test_a_small_data_set_is_counted_exactly() -> None:
    found = await prepared(CountingScorer(), config(), source({"q": "a b c"}, {"q": "d"}))
    assert found.lengths is not None
    assert list(found.lengths.demonstrations) == [5, 3]


async def test_a_row_that_does_not_fit_the_context_is_reported_with_its_tokens() -> None:
    rows = source({"q": "short"}, {"q": "w " * 100}, {"q": "w " * 50})
    with pytest.raises(InvalidDataset) as caught:
        await prepared(CountingScorer(60), config(), rows)
    [fault] = caught.value.faults
    assert fault.line == 2
    assert "102 tokens" in fault.message
    assert "reads 60 at once" in fault.message


@pytest.mark.parametrize("method", ["icm", "zero_shot"])
async def test_a_row_that_leaves_little_room_for_an_anchor_is_taken(method: str) -> None:
    chosen = parse_config({**config().as_json(), "method": method})
    rows = source(*({"q": f"word {number}"} for number in range(300)), {"q": "w " * 80})
    assert (await prepared(CountingScorer(100), chosen, rows)).survey.rows == 301


async def test_of_a_large_data_set_only_a_sample_and_the_long_rows_are_counted() -> None:
    scorer = CountingScorer(4_000)
    long = "word " * 900  # more bytes than the context has tokens
    found = await prepared(scorer, config(), source(*({"q": f"word {n}"} for n in range(2_500)), {"q": long}))
    assert len(scorer.counted) == 256 + 1 + 2 + 3  # and what texts begin with, what follows them, and the labels
    assert found.lengths is not None
    assert found.lengths.demonstrations[2_500] == 902
    assert all(4 <= tokens <= 12 for tokens in found.lengths.demonstrations[:2_500])


class OnceReadable:
    """A data set that can be read a single time."""

    def __init__(self, rows: RowSource) -> None:
        self._rows: RowSource | None = rows

    def rows(self, faults: FaultLog) -> Iterator[SourceRow]:
        rows, self._rows = self._rows, None
        assert rows is not None, "the data set was read twice"
        yield from rows.rows(faults)

    def sha256(self) -> str:
        return ""


@pytest.mark.parametrize("count", [2_000, 2_001])
async def test_one_reading_checks_the_rows_and_counts_their_tokens(count: int) -> None:
    scorer = CountingScorer(4_000)
    rows = OnceReadable(source(*({"q": f"word {n}"} for n in range(count))))
    found = await prepared(scorer, config(), rows)
    assert found.lengths is not None
    assert len(found.lengths.demonstrations) == count
    counted = [text for text in scorer.counted if text.startswith("word 1999 is")]
    assert len(counted) in ({1} if count <= 2_000 else {0, 1})


async def test_texts_too_long_to_keep_are_read_again_to_be_counted() -> None:
    text = "word " * 10_000
    rows = source(*({"q": f"{n} {text}"} for n in range(100)))
    found = await prepared(CountingScorer(20_000), config(), rows)
    assert found.survey.texts is None
    assert found.lengths is not None
    assert set(found.lengths.demonstrations) == {10_003}
