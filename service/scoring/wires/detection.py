"""Tells which kind of inference server answers at an address, from what only that kind serves."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from service.errors import BackendError
from service.scoring.wires.advice import title_of
from service.scoring.wires.http import JsonHttp

DetectKind = Callable[[], Awaitable[str | None]]

_TIMEOUT_SECONDS = 5.0  # for answers that take no computing
_EMBEDDED_ROUTER = "icm-inference"

# The embedded server speaks the wires of these kinds beside its own.
_ALSO_FITS: Mapping[str, frozenset[str]] = {"tgi": frozenset({"embedded"}), "vllm": frozenset({"embedded"})}


async def kind_at(http: JsonHttp) -> str | None:
    """The kind as operators write it in a backend's settings; None where no known server answers.

    A few GETs, asked one after the other until one decides; nothing is computed.
    """
    info = await _document(http, "/info")
    if "router" in info:
        return "embedded" if info["router"] == _EMBEDDED_ROUTER else "tgi"
    for path in ("/model_info", "/get_model_info"):  # the second in older releases
        if "model_path" in await _document(http, path):
            return "sglang"
    if "default_generation_settings" in await _document(http, "/props"):
        return "llamacpp"
    if "version" in await _document(http, "/version") and await _is_owned_by_vllm(http):
        return "vllm"
    return None


def detector(url: str, *, api_key: str | None = None) -> DetectKind:
    """Looks at this address, with connections of its own that it closes again."""

    async def detect() -> str | None:
        http = JsonHttp(url, timeout_seconds=_TIMEOUT_SECONDS, connections=1, api_key=api_key)
        try:
            return await kind_at(http)
        finally:
            await http.close()

    return detect


def misconfigured(configured: str, found: str | None) -> str | None:
    """What to change where another kind of server answers than the settings say; None where they agree."""
    if found is None or found == configured or found in _ALSO_FITS.get(configured, ()):
        return None
    return (
        f"the settings say {title_of(configured)}, and {title_of(found)} answers: set the backend's `kind` to "
        f"{found!r} (ICM_BACKENDS; BACKEND_KIND with docker compose), or its `url` to the server that is meant"
    )


async def _is_owned_by_vllm(http: JsonHttp) -> bool:
    models = (await _document(http, "/v1/models")).get("data")
    return isinstance(models, list) and any(
        isinstance(model, Mapping) and model.get("owned_by") == "vllm" for model in models
    )


async def _document(http: JsonHttp, path: str) -> Mapping[str, Any]:
    """The JSON object at this path; empty where there is none."""
    try:
        found = await http.get(path)
    except BackendError:
        return {}
    return found if isinstance(found, Mapping) else {}
