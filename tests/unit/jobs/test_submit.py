"""What is stored of a request that makes a job, and how a repeated request is recognised."""

from typing import Any

import orjson
import pytest

from api.labelling.configuration import parse_config
from service.access.caller_store import CallerStore
from service.config import JobConfig
from service.errors import InvalidDataset
from service.jobs.submission.preparation import prepare
from service.jobs.submission.submit import Receipt, new_rows, request_sha256, submit
from service.records.access import LOCAL_CALLER
from service.records.jobs import JobStatus
from service.scoring.deterministic import DeterministicScorer
from service.scoring.registry import ConfiguredScorers
from tests.support.memory import MemoryStore
from tests.support.sources import config, source

ROWS: list[dict[str, Any]] = [{"q": "a", "gold": True, "name": "one"}, {"q": "b", "name": "two"}]
SCORERS = ConfiguredScorers({"default": DeterministicScorer()})


async def submitted(store: MemoryStore, chosen: JobConfig, *rows: Any) -> Receipt:
    project_store = CallerStore(store, LOCAL_CALLER)
    return await submit(chosen, source(*rows), project_store, SCORERS, idempotency_key=None)


async def test_a_new_job_is_queued_and_counts_its_rows() -> None:
    receipt = await submitted(MemoryStore(), config(), *ROWS)
    assert not receipt.replayed
    assert (receipt.job.status, receipt.job.progress.rows, receipt.job.progress.labeled) == (JobStatus.QUEUED, 2, 0)


async def test_of_a_data_set_with_a_fault_nothing_is_stored() -> None:
    store = MemoryStore()
    with pytest.raises(InvalidDataset):
        await submitted(store, config(id_field="name"), ROWS[0], {**ROWS[1], "name": "one"})
    assert (store.state.datasets, store.state.rows, store.state.jobs) == ({}, {}, {})


async def test_gold_is_taken_out_of_the_row_and_kept_apart_as_it_was_written() -> None:
    rows = source(*ROWS)
    prepared = await prepare(config(gold_field="gold", id_field="name"), rows, SCORERS)
    first, second = new_rows(prepared, rows)
    assert (first.id, orjson.loads(first.data), first.gold) == ("one", {"q": "a", "name": "one"}, b"true")
    assert (second.id, orjson.loads(second.data), second.gold) == ("two", {"q": "b", "name": "two"}, None)


async def test_rows_without_ids_are_named_by_their_position() -> None:
    rows = source(*ROWS)
    prepared = await prepare(config(), rows, SCORERS)
    assert [(row.position, row.id, row.shard) for row in new_rows(prepared, rows)] == [(0, "0", 0), (1, "1", 0)]


def test_a_request_is_known_by_its_meaning_and_not_by_what_it_left_to_defaults() -> None:
    plain = parse_config({"task": {"template": "{q}"}})
    written = parse_config(plain.as_json())
    other = parse_config({"task": {"template": "{q}"}, "search": {"seed": 1}})
    assert request_sha256(plain, "data") == request_sha256(written, "data")
    assert len({request_sha256(*given) for given in ((plain, "data"), (other, "data"), (plain, "other data"))}) == 3
