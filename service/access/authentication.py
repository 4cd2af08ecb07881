"""Lets callers in: from what came with a request to the caller it stands for."""

import ipaddress
from contextlib import suppress

from service.access.keys import read_key
from service.errors import NotAuthenticated, NotPermitted, StorageFull
from service.identifiers import KeyId
from service.ports.store import Store
from service.records.access import Caller, Scope

_REFUSED = "the API key is unknown, revoked or expired"
_NO_SECRET = bytes(32)  # no key has this SHA-256


def needs_key(host: str, *, required: bool) -> bool:
    """Whether callers must show a key: always beyond loopback; on loopback where the operator wants it."""
    return required or not is_loopback(host)


def is_loopback(host: str) -> bool:
    """Whether only programs on this machine can connect to what listens at this address.

    A name other than localhost counts as reachable from elsewhere, whatever it means today.
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def authenticate(store: Store, presented: str, *, request_id: str | None = None) -> Caller:
    """The caller whose key this is. Raises NotAuthenticated, with the same words for every key that is no good.

    The key is looked up every time, so that a revoked one is refused from the next request on.
    """
    key = read_key(presented)
    async with store.access_unit() as unit:
        stored = await unit.keys.find(key.id)
        matches = key.matches(_NO_SECRET if stored is None else stored.sha256)
        if stored is None or not matches or not stored.key.is_good(stored.now):
            raise NotAuthenticated(_REFUSED, key_was_sent=True)
    if stored.key.is_use_news(stored.now):
        await _note_use(store, key.id)
    return Caller(project=stored.key.project, key_id=stored.key.id, scopes=stored.key.scopes, request_id=request_id)


async def _note_use(store: Store, key_id: KeyId) -> None:
    """Note that the key was used; where the disk is full people may still read what they have."""
    with suppress(StorageFull):
        async with store.access_unit() as unit:
            await unit.keys.touch(key_id)


async def confirm(store: Store, caller: Caller) -> None:
    """Make sure that the caller's key is still good; for answers that go on for long. Raises NotAuthenticated."""
    if caller.key_id is None:
        return
    async with store.access_unit() as unit:
        stored = await unit.keys.find(caller.key_id)
    if stored is None or not stored.key.is_good(stored.now):
        raise NotAuthenticated(_REFUSED, key_was_sent=True)


def permit(caller: Caller, scope: Scope) -> None:
    """Raise NotPermitted where the caller's key is not good for this."""
    if not caller.may(scope):
        raise NotPermitted(f"the API key lacks the scope {scope}", scope)
