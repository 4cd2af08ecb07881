"""A proxy that adds planned faults to the real embedded server, for its own adapter."""

from collections.abc import Mapping
from typing import Any, ClassVar

import httpx

from tests.servers.fake import FakeServer, Handler, Reply, Seen
from tests.servers.faults import Fault, Plan

_SPOILT = {Fault.NULL_VALUES: None, Fault.NAN_VALUES: float("nan"), Fault.POSITIVE_VALUES: 0.5}


class FaultyEmbedded(FakeServer):
    """The embedded server's tree call, forwarded to a server at `upstream`."""

    kind = "embedded"
    scoring_paths: ClassVar[frozenset[str]] = frozenset({"/v1/score_tree"})

    def __init__(self, upstream: str, *, plan: Plan | None = None) -> None:
        super().__init__(plan=plan)
        self.upstream = upstream

    def routes(self) -> Mapping[tuple[str, str], Handler]:
        """The routes that adapters use: the tree call, the canary, and TGI's."""
        posted = ("/v1/count_tokens", "/v1/score_tree", "/v1/completions", "/tokenize", "/generate")
        return {("GET", "/info"): self._pass_on, **{("POST", path): self._pass_on for path in posted}}

    def failure(self, fault: Fault) -> Reply:
        """The embedded server's errors have the form of TGI's."""
        match fault:
            case Fault.FAILED:
                return Reply({"error": "Request failed during generation", "error_type": "generation"}, 500)
            case Fault.UNAVAILABLE | Fault.UNAVAILABLE_SECONDS | Fault.UNAVAILABLE_DATE:
                return Reply({"error": "unhealthy", "error_type": "healthcheck"}, 503)
            case Fault.REFUSED:
                return Reply({"error": "Input validation error: too many nodes", "error_type": "validation"}, 422)
            case Fault.UNAUTHORIZED:
                return Reply({"error": "Unauthorized", "error_type": "validation"}, 401)
            case _:
                return Reply({"error": "Model is overloaded", "error_type": "overloaded"}, 429)

    def spoil(self, fault: Fault, seen: Seen, content: Any) -> Any:
        """A label that is impossible for the language model is null."""
        rows = content["log_probabilities"]
        if fault is Fault.MISSING_LABEL:
            content["log_probabilities"] = [[*row[:-1], None] for row in rows]
        elif fault is Fault.ABORTED:
            content["log_probabilities"] = []
        elif fault in _SPOILT:
            content["log_probabilities"] = [[_SPOILT[fault] for _ in row] for row in rows]
        return content

    def forget_prefixes(self) -> None:
        """Do nothing: the real server has its own cache."""

    async def _pass_on(self, seen: Seen) -> Reply:
        async with httpx.AsyncClient(base_url=self.upstream, trust_env=False, timeout=60) as client:
            reply = await client.request(
                seen.method, seen.path, content=seen.raw, headers={"content-type": "application/json"}
            )
        return Reply(reply.json(), reply.status_code)
