"""What a probe says of a server that answers `GET /info` as text-generation-inference does."""

from collections.abc import Mapping, Sequence
from typing import Any

from service.errors import BackendError, BackendUnavailable
from service.ports import BackendInfo


def described(
    name: str, kind: str, info: Mapping[str, Any], problems: Sequence[str], *, reports_tokens_computed: bool
) -> BackendInfo:
    """A backend that answers; ready where there are no problems."""
    return BackendInfo(
        name=name,
        kind=kind,
        ready=not problems,
        model=info.get("model_id"),
        revision=info.get("model_sha"),
        server_version=info.get("version"),
        context_tokens=info.get("max_input_tokens"),
        max_concurrent_requests=info.get("max_concurrent_requests"),
        reports_tokens_computed=reports_tokens_computed,
        problems=tuple(problems),
    )


def not_ready(name: str, kind: str, error: BackendError) -> BackendInfo:
    """A backend that gave an error in place of an answer."""
    reachable = not isinstance(error, BackendUnavailable)
    return BackendInfo(name=name, kind=kind, ready=False, reachable=reachable, problems=(str(error),))
