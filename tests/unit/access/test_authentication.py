from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.access.authentication import authenticate, is_loopback, is_still_valid, needs_key, permit
from service.access.issuing import create_key, list_keys, project_name, revoke_key
from service.access.keys import key_of, new_key
from service.errors import InvalidInput, KeyNotFound, NotAuthenticated, NotPermitted
from service.ports.store import Store
from service.records.access import Caller, Scope
from tests.support.stores import ScratchStore

BOTH = (Scope.READ, Scope.WRITE)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost"])
def test_only_this_machine_reaches_a_loopback_address(host: str) -> None:
    assert is_loopback(host)
    assert not needs_key(host, required=False)
    assert needs_key(host, required=True)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "192.168.1.1", "example.org", "localhost.", "", "127.1"])  # noqa: S104 - compared, not bound
def test_every_other_address_needs_keys_and_no_setting_changes_that(host: str) -> None:
    assert needs_key(host, required=False)


async def test_a_key_lets_its_project_in_with_its_scopes(store: Store) -> None:
    key, made = await create_key(store, project="birds", name="a", scopes=[Scope.READ])
    caller = await authenticate(store, made.text, request_id="r1")
    assert caller == Caller(project=key.project, key_id=key.id, scopes=frozenset({Scope.READ}), request_id="r1")


async def test_the_same_id_with_another_secret_is_refused_in_the_words_for_an_unknown_key(store: Store) -> None:
    key, _ = await create_key(store, project="birds", name="a", scopes=BOTH)
    told = [await refusal(store, made.text) for made in (key_of(key.id, bytes(32)), new_key())]
    assert told == ["the API key is unknown, revoked or expired"] * 2


async def test_a_revoked_key_is_refused_from_then_on(store: Store) -> None:
    key, made = await create_key(store, project="birds", name="a", scopes=BOTH)
    caller = await authenticate(store, made.text)
    assert await is_still_valid(store, caller)
    revoked = await revoke_key(store, key.id)
    assert revoked.revoked_at is not None
    assert await refusal(store, made.text) == "the API key is unknown, revoked or expired"
    assert not await is_still_valid(store, caller)


async def test_a_key_revoked_twice_stays_revoked_since_the_first_time(store: Store) -> None:
    key, _ = await create_key(store, project="birds", name="a", scopes=BOTH)
    first = await revoke_key(store, key.id)
    assert await revoke_key(store, f"icm_{key.id}") == first


async def test_a_key_works_until_it_expires_and_no_longer() -> None:
    clock = [datetime.now(UTC)]
    store = ScratchStore(now=lambda: clock[0])
    key, made = await create_key(store, project="birds", name="a", scopes=BOTH, lifetime=timedelta(days=1))
    assert key.expires_at is not None
    clock[0] = key.expires_at - timedelta(microseconds=1)
    await authenticate(store, made.text)
    clock[0] = key.expires_at
    assert await refusal(store, made.text) == "the API key is unknown, revoked or expired"


async def test_the_last_use_is_recorded_to_the_minute() -> None:
    clock = [datetime.now(UTC)]
    store = ScratchStore(now=lambda: clock[0])
    _, made = await create_key(store, project="birds", name="a", scopes=BOTH)
    noted = []
    for seconds in (0, 59, 1, 61):
        clock[0] += timedelta(seconds=seconds)
        await authenticate(store, made.text)
        noted.append((await list_keys(store))[0].last_used_at)
    start = clock[0] - timedelta(seconds=121)
    assert noted == [start, start, start + timedelta(seconds=60), clock[0]]


async def test_a_wrong_secret_does_not_count_as_use(store: Store) -> None:
    key, _ = await create_key(store, project="birds", name="a", scopes=BOTH)
    await refusal(store, key_of(key.id, bytes(32)).text)
    assert [key.last_used_at for key in await list_keys(store)] == [None]


async def test_keys_are_listed_by_project(store: Store) -> None:
    birds, _ = await create_key(store, project="birds", name="a", scopes=BOTH)
    fish, _ = await create_key(store, project="fish", name="b", scopes=BOTH, lifetime=timedelta(days=2))
    assert await list_keys(store) == [birds, fish]
    assert await list_keys(store, project="fish") == [fish]
    assert await list_keys(store, project="none") == []


@pytest.mark.parametrize("name", ["", "Birds", "a b", "-a", "a-", "a" * 64, "ä", "a\n"])
def test_a_project_has_a_plain_name(name: str) -> None:
    with pytest.raises(InvalidInput):
        project_name(name)


async def test_a_key_with_a_fault_is_not_created(store: Store) -> None:
    good: dict[str, Any] = {"project": "birds", "name": "a", "scopes": BOTH}
    faults: list[dict[str, Any]] = [{"project": "Birds"}, {"scopes": []}]
    faults += [{"name": name} for name in ("", "a\nb", "a" * 201, "\x00")]
    for fault in faults:
        with pytest.raises(InvalidInput):
            await create_key(store, **{**good, **fault})
    assert await list_keys(store) == []


async def test_revoking_a_key_that_is_not_there_says_so_and_repeats_nothing(store: Store) -> None:
    for key_id in ("", "a" * 12, "x", "icm_", key_of("b" * 12, bytes(32)).text):
        with pytest.raises(KeyNotFound) as refused:
            await revoke_key(store, key_id)
        assert key_id.rpartition("_")[2] not in str(refused.value) or len(key_id) <= 12


@pytest.mark.parametrize("scope", list(Scope))
def test_admin_includes_every_scope_and_the_others_only_themselves(scope: Scope) -> None:
    permit(Caller(scopes=frozenset({Scope.ADMIN})), scope)
    permit(Caller(scopes=frozenset({scope})), scope)
    for other in {Scope.READ, Scope.WRITE} - {scope}:
        with pytest.raises(NotPermitted):
            permit(Caller(scopes=frozenset({other})), scope)


async def refusal(store: Store, presented: str) -> str:
    with pytest.raises(NotAuthenticated) as refused:
        await authenticate(store, presented)
    return str(refused.value)
