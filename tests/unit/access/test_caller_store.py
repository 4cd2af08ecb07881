import asyncio

from service.access.caller_store import CallerStore
from service.ports.store import Store
from service.records.access import LOCAL_CALLER


async def test_long_reads_open_no_more_units_at_once_than_there_are_turns(store: Store) -> None:
    turns = asyncio.Semaphore(1)
    limited, unlimited = CallerStore(store, LOCAL_CALLER, turns=turns), CallerStore(store, LOCAL_CALLER)
    async with limited.project_unit():
        assert turns.locked()
        async with unlimited.project_unit() as unit:
            await unit.account.overrides()
    assert not turns.locked()
