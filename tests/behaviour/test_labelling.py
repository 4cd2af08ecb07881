"""A whole job through every adapter, with and without faults: the labels are those that the model prefers."""

import asyncio

import pytest

from api.labelling.configuration import parse_config
from service.access.caller_store import CallerStore
from service.identifiers import JobId, Row, WorkerId
from service.intake.bounds.limits import Limits
from service.intake.sources import InlineSource
from service.jobs.running.run import run_shard
from service.jobs.submission.submit import submit
from service.ports.scoring import Scorer
from service.records.access import LOCAL_CALLER
from service.records.jobs import ClaimedShard
from service.scoring.registry import ConfiguredScorers
from tests.servers.adapters import fake_of, rig_of
from tests.servers.asking import KINDS
from tests.servers.faults import PASSING, Fault, Plan
from tests.servers.language_model import labels_of
from tests.support.claiming import claim_shard
from tests.support.memory import MemoryStore

CITIES, COUNTRIES = ("Paris", "Rome", "Oslo"), ("France", "Norway")
TEXTS = [f"{city} is in {country}." for city in CITIES for country in COUNTRIES]
HELD = ["True", "False"]
CONFIG = parse_config(
    {"name": "cities", "task": {"template": "{text}"}, "search": {"restarts": 2, "sweeps": 2, "folds": 2}}
)
LIMITS = Limits(max_bytes=1_000_000, max_rows=100, max_row_bytes=1_000)
PATIENT = 1e6  # seconds


async def labelled(scorer: Scorer) -> list[str]:
    """The labels of a job over all texts."""
    store = MemoryStore()
    rows = InlineSource([{"text": text} for text in TEXTS], LIMITS)
    scorers = ConfiguredScorers({"default": scorer})
    project_store = CallerStore(store, LOCAL_CALLER)
    receipt = await submit(CONFIG, rows, project_store, scorers, idempotency_key=None)
    while (claimed := await _claimed(store)) is not None:
        await run_shard(store, scorer, claimed, checkpoint_seconds=0.0, stop=asyncio.Event())
    return await _labels(store, receipt.job.id)


async def _claimed(store: MemoryStore) -> ClaimedShard | None:
    async with store.worker_unit() as unit:
        return await claim_shard(unit, WorkerId("worker"), 600.0)


async def _labels(store: MemoryStore, job_id: JobId) -> list[str]:
    async with store.worker_unit() as unit:
        found = await unit.labels.of_shard(job_id, 0)
    return [HELD[found[Row(number)]] for number in range(len(TEXTS))]


# One kind that takes ids and one that takes text; test_wires.py and test_faults.py have them all.
@pytest.mark.parametrize(
    "kind", [kind if kind == "vllm" else pytest.param(kind, marks=pytest.mark.long) for kind in KINDS]
)
async def test_a_job_finds_what_the_language_model_holds_whatever_goes_wrong_meanwhile(kind: str) -> None:
    server = fake_of(kind)
    drawn = tuple(fault for fault in PASSING if fault not in (Fault.SILENT, Fault.ABORTED))
    plan = Plan(seed=11, share=0.1, drawn=drawn)
    async with rig_of(kind, server, patience_seconds=PATIENT) as rig:
        calm = await labelled(rig.scorer)
        server.plan_from_now(plan)
        stormy = await labelled(rig.scorer)
    assert calm == list(labels_of(TEXTS).values())
    assert stormy == calm, str(plan)
    assert any(seen.fault for seen in server.scored)
