"""Lists every kind of scoring backend; each kind's module defines its settings, how to detect it, and advice."""

from collections.abc import Mapping
from typing import Annotated, Any, get_args

from pydantic import BeforeValidator, Field, TypeAdapter

from service.scoring import deterministic, embedded
from service.scoring.wires import detection, llamacpp, sglang, tgi, vllm
from service.scoring.wires.detection import DetectKind
from service.scoring.wires.settings import BackendSettings

AnyBackend = (
    tgi.TgiBackend
    | embedded.EmbeddedBackend
    | vllm.VllmBackend
    | sglang.SglangBackend
    | llamacpp.LlamaCppBackend
    | deterministic.DeterministicBackend
)
DEFAULT = tgi.TgiBackend

KINDS: Mapping[str, type[BackendSettings]] = {backend.of_kind.name: backend for backend in get_args(AnyBackend)}
OPTIONS = frozenset(name for backend in KINDS.values() for name in backend.model_fields)


def _with_settings_of_its_kind(given: Any) -> Any:
    """Add the default kind, and drop options of other kinds: a compose file passes the options of all kinds."""
    if not isinstance(given, Mapping):
        return given
    if not given:
        raise ValueError('is empty; give it a kind and a url, such as {"kind": "vllm", "url": "http://gpu:8000"}')
    chosen = {"kind": DEFAULT.of_kind.name, **given}
    backend = KINDS.get(chosen["kind"]) if isinstance(chosen["kind"], str) else None
    if backend is not None and chosen.get("adapter") and "adapter" not in backend.model_fields:
        raise ValueError(_without_adapters(backend))
    others = OPTIONS - (OPTIONS if backend is None else backend.model_fields.keys())
    return {name: value for name, value in chosen.items() if name not in others}


def _without_adapters(backend: type[BackendSettings]) -> str:
    """Why a backend of this kind takes no `adapter`, which would otherwise be dropped and the base scored."""
    instead = "merge the adapter into its base, and serve the result"
    if backend is vllm.VllmBackend:
        instead = "set `model` to the adapter's name at the server"
    return f"`adapter` is for kind {embedded.KIND.name!r}; with kind {backend.of_kind.name!r} {instead}"


Backend = Annotated[AnyBackend, Field(discriminator="kind"), BeforeValidator(_with_settings_of_its_kind)]
_READER = TypeAdapter[AnyBackend](Backend)


def backend_of(**given: object) -> AnyBackend:
    """The settings of a backend from keyword arguments. Raises pydantic's ValidationError."""
    return _READER.validate_python(given)


def detector(url: str, *, api_key: str | None = None) -> DetectKind:
    """A function that detects which kind of server answers at this address."""
    return detection.detector(url, [backend.of_kind for backend in KINDS.values()], api_key=api_key)
