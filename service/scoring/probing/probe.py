"""Probes a server through its wire: which model it serves, and whether it can score a job's labels.

A problem keeps a job from running, advice does not; each says what to change. Every trial costs a few tokens. The trial
of the prefix cache runs once and is remembered until the server's fingerprint changes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from service.errors import BackendError, BackendRefused, BackendUnavailable, FailureKind
from service.records.scoring import BackendInfo, ServerFacts
from service.scoring.calls.executor import CallExecutor
from service.scoring.probing.cache_trial import CacheFindings, CacheTrial
from service.scoring.probing.identity import info_from_facts, not_ready
from service.scoring.probing.label_trial import LabelFindings, TriedLabels, Unreachable, try_labels
from service.scoring.wires.detection import DetectKind, misconfigured
from service.scoring.wires.kind import Kind, Remedies
from service.scoring.wires.wire import Wire

EXAMPLES = ("True", "False")  # labels to try if the caller gives none
STEADY_NATS = 1e-3  # smaller differences do not matter: single precision is accurate to 1e-6
# Half precision moves log-probabilities by about 0.06 nats between a cold and a warm prefix cache
# (vllm-project/vllm issue 5543); rounding does not explain four times that.
UNSTEADY_NATS = 0.25
COARSE_BLOCK_TOKENS = 64  # rows are rarely longer, so that with larger blocks the cache finds hardly any row
_CACHE_TRIAL_SECONDS = 5.0


class Examiner:
    """Probes the server behind a wire repeatedly; it repeats the costly trials only if the server has changed.

    `detect` finds out which kind of server answers at the wire's address; without it the probe trusts the settings.
    """

    def __init__(self, name: str, wire: Wire, executor: CallExecutor, detect: DetectKind | None = None) -> None:
        self._name = name
        self._wire = wire
        self._kind = wire.kind
        self._executor = executor
        self._detect = detect
        self._fingerprint = ""
        self._found_kind: Kind | None = None
        self._cache_trial = CacheTrial()

    async def __call__(
        self, labels: Sequence[str] = (), *, all_spellings: bool = False, separator: str = ""
    ) -> BackendInfo:
        """Probe the server, and whether it can score these labels; errors become problems of the result."""
        try:
            facts = await self._wire.facts()
        except BackendError as error:
            other_kind = await self._other_kind(error)
            return not_ready(self._name, self._kind.name, error if other_kind is None else BackendRefused(other_kind))
        info = server_info(self._name, self._kind, facts, token_id_prompts=self._wire.takes_token_ids)
        if (wrong := await self._check_kind(info)) is not None:
            return replace(info, ready=False, problems=(wrong,))
        if info.problems:
            return info
        tried = TriedLabels(labels or EXAMPLES, all_spellings, separator, as_text=not self._wire.takes_token_ids)
        try:
            return await self._run_trials(info, tried)
        except BackendError as error:
            reachable = not isinstance(error, BackendUnavailable)
            return replace(info, ready=False, reachable=reachable, problems=(str(error),))

    async def _run_trials(self, info: BackendInfo, tried: TriedLabels) -> BackendInfo:
        """Run all trials and add their results to the server's description. Raises BackendError."""
        found = await try_labels(self._wire, self._executor, tried)
        cache = await self._cache_trial.resume(
            self._wire, self._executor, context_tokens=info.context_tokens, seconds=_CACHE_TRIAL_SECONDS
        )
        if info.max_top_tokens is not None:  # a refusal during the trials may have revealed a lower cap
            info = replace(info, max_top_tokens=(await self._wire.facts()).max_top_tokens)
        return with_findings(self._kind, info, found, cache, found_kind=self._found_kind)

    async def _other_kind(self, error: BackendError) -> str | None:
        """Advice on the setting to change, if a server of another kind gave the error."""
        answered = isinstance(error, BackendRefused) or (
            isinstance(error, BackendUnavailable) and error.kind is FailureKind.MALFORMED
        )
        return misconfigured(self._kind, await self._detect()) if self._detect and answered else None

    async def _check_kind(self, info: BackendInfo) -> str | None:
        """Advice on the setting to change, if another kind answers; detects it only for a new or changed server."""
        if info.fingerprint != self._fingerprint:
            self._cache_trial = CacheTrial()
            self._found_kind = await self._detect() if self._detect else None
            self._fingerprint = info.fingerprint
        return misconfigured(self._kind, self._found_kind)


def server_info(name: str, kind: Kind, facts: ServerFacts, *, token_id_prompts: bool) -> BackendInfo:
    """The server's description; with a problem if it lacks the context length, which every job needs."""
    if facts.context_tokens is None and not facts.problems:
        hidden = f"the server does not say how many tokens it reads at once: {kind.remedies.context}"
        facts = replace(facts, problems=(hidden,))
    return replace(info_from_facts(name, kind.name, facts), token_id_prompts=token_id_prompts)


def with_findings(
    kind: Kind, info: BackendInfo, found: LabelFindings, cache: CacheFindings, *, found_kind: Kind | None = None
) -> BackendInfo:
    """The server's description with the results of the trials, and the problems and advice that follow."""
    tried = replace(
        info,
        reports_tokens_computed=found.reports_tokens_computed or cache.prefix_cache is not None,
        tokenizer_agrees=None if found.other_endings is None else not found.other_endings and found.joins is not False,
        prefix_cache=cache.prefix_cache,
        cache_block_tokens=cache.block_tokens or info.cache_block_tokens,
        repeat_difference_nats=found.difference_nats,
        warm_difference_nats=cache.difference_nats,
    )
    problems = (*tried.problems, *_problems(kind.remedies, tried, found))
    advice = (*tried.advice, *_advice(kind.remedies, tried, found))
    if found_kind is not None and (instead := found_kind.speaks.get(kind.name)):
        advice = (*advice, instead)
    return replace(tried, ready=not problems, problems=problems, advice=advice)


def _problems(remedies: Remedies, info: BackendInfo, found: LabelFindings) -> Iterator[str]:
    yield from found.refusals
    if found.unreachable:
        yield f"no log-probability for {_places(found.unreachable)}: {remedies.unreachable_label}"
    if found.relative and found.calls > 1:
        yield (
            "only differences between log-probabilities are known, and the labels are not decided by one token: "
            f"{remedies.unreachable_label}"
        )
    for what, nats in _differences(info):
        if nats > UNSTEADY_NATS:
            yield f"{what} differ by {nats:.2g} nats, too much to compare scores: {remedies.differing_calls}"


def _places(unreachable: Sequence[Unreachable]) -> str:
    """The unreachable tokens in words, grouped by prompt."""
    prompts = dict.fromkeys(token.prompt for token in unreachable)
    tokens = (", ".join(repr(token.text) for token in unreachable if token.prompt == prompt) for prompt in prompts)
    return "; ".join(f"{texts} after {prompt!r}" for texts, prompt in zip(tokens, prompts, strict=True))


def _advice(remedies: Remedies, info: BackendInfo, found: LabelFindings) -> Iterator[str]:
    if not info.reports_tokens_computed:
        yield f"tokens computed are modelled, since the server does not report them: {remedies.computed_tokens}"
    if info.prefix_cache is False:
        yield f"a prompt sent twice is computed twice, so that jobs cost many times more: {remedies.prefix_cache}"
    if (info.cache_block_tokens or 0) > COARSE_BLOCK_TOKENS:
        yield f"the prefix cache finds blocks of {info.cache_block_tokens} tokens only: {remedies.cache_block}"
    for what, nats in _differences(info):
        if STEADY_NATS < nats <= UNSTEADY_NATS:
            yield f"{what} differ by {nats:.2g} nats: for labels that repeat exactly, {remedies.differing_calls}"
    if found.relative and found.calls == 1:
        yield f"labels are scored against each other alone, without their probability: {remedies.unreachable_label}"
    if found.other_endings:
        ends = ", ".join(map(repr, found.other_endings))
        yield f"labels have other tokens behind prompts that end with {ends}: let the template end with a word"
    if found.joins is False:
        yield "the tokenizer gives a text other tokens behind a separator than by itself: prompts are encoded whole"


def _differences(info: BackendInfo) -> Iterator[tuple[str, float]]:
    """Each measured difference: its name in words, and its size in nats."""
    if info.repeat_difference_nats is not None:
        yield "the log-probabilities of identical calls", info.repeat_difference_nats
    if info.warm_difference_nats is not None:
        yield "the log-probabilities of a prompt computed anew and from the prefix cache", info.warm_difference_nats
