"""Tells which kind of inference server answers at an address, from what only that kind serves."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from service.errors import BackendError
from service.scoring.wires.http import JsonHttp
from service.scoring.wires.kind import GetDocument, Kind

DetectKind = Callable[[], Awaitable[Kind | None]]

_TIMEOUT_SECONDS = 5.0  # for answers that take no computing


async def kind_at(http: JsonHttp, kinds: Iterable[Kind]) -> Kind | None:
    """The kind whose sign the server gives; None where no known server answers.

    Kinds are tried one after the other until one fits, those that speak other kinds' wires first, since
    they give the others' signs as well. Each document is asked for once.
    """
    get = _documents(http)
    for kind in sorted(kinds, key=lambda kind: not kind.speaks):
        if kind.sign is not None and await kind.sign(get):
            return kind
    return None


def detector(url: str, kinds: Iterable[Kind], *, api_key: str | None = None) -> DetectKind:
    """Looks for one of these kinds at this address, with connections of its own that it closes again."""

    async def detect() -> Kind | None:
        http = JsonHttp(url, timeout_seconds=_TIMEOUT_SECONDS, connections=1, api_key=api_key)
        try:
            return await kind_at(http, kinds)
        finally:
            await http.close()

    return detect


def misconfigured(configured: Kind, found: Kind | None) -> str | None:
    """What to change where another kind of server answers than the settings say; None where they agree."""
    if found is None or found.name == configured.name or configured.name in found.speaks:
        return None
    return (
        f"the settings say {configured.title}, and {found.title} answers: set the backend's `kind` to "
        f"{found.name!r} (ICM_BACKENDS; BACKEND_KIND with docker compose), or its `url` to the server that is meant"
    )


def _documents(http: JsonHttp) -> GetDocument:
    """Gets JSON objects, and remembers them."""
    known: dict[str, Mapping[str, Any]] = {}

    async def get(path: str) -> Mapping[str, Any]:
        if path not in known:
            try:
                found = await http.get(path)
            except BackendError:
                found = None
            known[path] = found if isinstance(found, Mapping) else {}
        return known[path]

    return get
