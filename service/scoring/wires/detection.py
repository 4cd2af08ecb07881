"""Detects which kind of inference server answers at an address, by documents that only that kind serves."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from service.errors import BackendError
from service.scoring.wires.http import JsonHttp
from service.scoring.wires.kind import GetDocument, Kind

DetectKind = Callable[[], Awaitable[Kind | None]]

_TIMEOUT_SECONDS = 5.0  # for answers that need no computation


def detector(url: str, kinds: Iterable[Kind], *, api_key: str | None = None) -> DetectKind:
    """A function that detects which of these kinds answers at this address, over a separate connection.

    Tries one kind after the other. Kinds that also speak another kind's wire come first, since the other
    kind would recognise their servers, too.
    """

    async def detect() -> Kind | None:
        http = JsonHttp(url, timeout_seconds=_TIMEOUT_SECONDS, connections=1, api_key=api_key)
        get = _documents(http)
        try:
            for kind in sorted(kinds, key=lambda kind: not kind.speaks):
                if kind.recognises is not None and await kind.recognises(get):
                    return kind
        finally:
            await http.close()
        return None

    return detect


def misconfigured(configured: Kind, found: Kind | None) -> str | None:
    """Advice on the setting to change, if the server is of another kind than configured; None if they agree."""
    if found is None or found.name == configured.name or configured.name in found.speaks:
        return None
    return (
        f"the settings say {configured.title}, and {found.title} answers: set the backend's `kind` to "
        f"{found.name!r} (ICM_BACKENDS; BACKEND_KIND with docker compose), or its `url` to the intended server"
    )


def _documents(http: JsonHttp) -> GetDocument:
    """A function that gets JSON objects and caches them; an empty one if there is none."""
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
