"""Authenticates callers by their API key, and checks the scopes of the key."""

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
    """Whether requests need a key: always beyond loopback; on loopback only if the operator requires it."""
    return required or not is_loopback(host)


def is_loopback(host: str) -> bool:
    """Whether only programs on this machine can connect to a server that listens at this address.

    Every name but localhost counts as reachable from elsewhere, whatever it resolves to now.
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def authenticate(store: Store, presented: str, *, request_id: str | None = None) -> Caller:
    """The caller with this key. Raises NotAuthenticated, with the same message for unknown, revoked and expired keys.

    Every call looks the key up, so that the next request after a revocation is already refused.
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
    """Record that the key was used; ignores a full disk, so that callers can still read."""
    with suppress(StorageFull):
        async with store.access_unit() as unit:
            await unit.keys.touch(key_id)


async def is_still_valid(store: Store, caller: Caller) -> bool:
    """Whether the caller, during a long answer, still has a valid key or needs none."""
    if caller.key_id is None:
        return True
    async with store.access_unit() as unit:
        stored = await unit.keys.find(caller.key_id)
    return stored is not None and stored.key.is_good(stored.now)


def permit(caller: Caller, scope: Scope) -> None:
    """Raise NotPermitted if the caller's key lacks this scope."""
    if not caller.may(scope):
        raise NotPermitted(f"the API key lacks the scope {scope}", scope)
