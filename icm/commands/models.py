"""The command that shows the scoring backends of a service and the findings of their probe."""

from collections.abc import Iterator, Mapping
from typing import Any

from icm.client import Client
from icm.commands.options import ApiKey, Json, Url
from icm.commands.output import count, on_stdout, plain_table, write_json, write_line
from icm.requests import DEFAULT_URL

_UNKNOWN = "?"


def models(*, url: Url = DEFAULT_URL, api_key: ApiKey = None, as_json: Json = False) -> None:
    """List the scoring backends for configurations, with the findings of a probe; --json prints one line for each.

    A problem stops jobs, advice does not; both say what to change.
    """
    with Client(url, api_key=api_key) as client:
        backends = client.models()
    if as_json:
        for backend in backends:
            write_json(backend)
        return
    console = on_stdout()
    table = plain_table("name", "kind", "ready", "language model", "context", "prefix cache", "steady to (nats)")
    for column in table.columns[:3]:
        column.no_wrap = True  # a narrow terminal breaks other cells
    for backend in backends:
        table.add_row(*_cells(backend))
    console.print(table)
    for line in (line for backend in backends for line in _remarks(backend)):
        write_line(console, line)


def _cells(backend: Mapping[str, Any]) -> Iterator[str]:
    replicas, context = backend.get("replicas") or 1, backend.get("context_tokens")
    yield str(backend.get("id"))
    yield str(backend.get("kind") or _UNKNOWN) + (f" x {replicas}" if replicas > 1 else "")
    yield "yes" if backend.get("ready") else "no"
    yield str(backend.get("model") or _UNKNOWN)
    yield _UNKNOWN if context is None else count(context)
    yield _prefix_cache(backend)
    yield _steadiness(backend)


def _prefix_cache(backend: Mapping[str, Any]) -> str:
    found, block = backend.get("prefix_cache"), backend.get("cache_block_tokens")
    if found is None:
        return _UNKNOWN
    if not found:
        return "no"
    return "yes" if block is None else f"by {count(block)} token" + ("s" if block > 1 else "")


def _steadiness(backend: Mapping[str, Any]) -> str:
    """The larger of the probe's two differences, in nats."""
    measured = (backend.get("repeat_difference_nats"), backend.get("warm_difference_nats"))
    known = [difference for difference in measured if difference is not None]
    return f"{max(known):.2g}" if known else _UNKNOWN


def _remarks(backend: Mapping[str, Any]) -> Iterator[str]:
    for kind, key in (("problem", "problems"), ("advice", "advice")):
        for text in backend.get(key) or []:
            yield f"{backend.get('id')}: {kind}: {text}"
