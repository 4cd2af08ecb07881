"""Records of inference servers: their identity, and the findings of a probe."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BackendIdentity:
    """The identity of a backend's scores: the service never mixes labels of two identities.

    `fingerprint` names kind, model, revision and server version. `canary` has the log-probabilities
    (nats) that the backend gives to the likeliest token after a few fixed prompts, which
    differ if the server has other weights under the same name.
    """

    fingerprint: str
    canary: tuple[float, ...] = ()

    def agrees_with(self, other: "BackendIdentity", *, tolerance_nats: float = 0.25) -> bool:
        """Whether both are the same model on the same server; half precision moves a canary by less."""
        return (
            self.fingerprint == other.fingerprint
            and len(self.canary) == len(other.canary)
            and all(abs(one - two) <= tolerance_nats for one, two in zip(self.canary, other.canary, strict=True))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """A server's own description; None for facts that it does not report."""

    model: str | None = None
    revision: str | None = None
    server_version: str | None = None
    context_tokens: int | None = None  # of the longest prompt that leaves room for one generated token
    max_concurrent_requests: int | None = None
    max_top_tokens: int | None = None  # the most alternatives that a call may name
    cache_block_tokens: int | None = None  # the granularity of the prefix cache
    problems: tuple[str, ...] = ()  # why the server is unfit, each with the change to make, such as a launch flag
    advice: tuple[str, ...] = ()  # how to make it faster or its scores steadier


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendInfo(ServerFacts):
    """The findings of a probe of a scoring backend for given labels; None for a trial without an outcome."""

    name: str
    kind: str
    ready: bool
    reachable: bool = True  # false if the problem may go away by itself
    reports_tokens_computed: bool = False
    replicas: int = 1
    token_id_prompts: bool | None = None  # prompts travel as token ids
    tokenizer_agrees: bool | None = None  # encode(prompt + label) == encode(prompt) + encode(label)
    prefix_cache: bool | None = None  # a prompt sent twice is not computed twice
    repeat_difference_nats: float | None = None  # between two identical calls
    warm_difference_nats: float | None = None  # between a prompt computed anew and from the prefix cache

    @property
    def fingerprint(self) -> str:
        """The names that determine the scores: kind, model, revision and server version."""
        return "|".join(str(part) for part in (self.kind, self.model, self.revision, self.server_version))
