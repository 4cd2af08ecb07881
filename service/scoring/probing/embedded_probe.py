"""Probes the embedded server by its own wire: which model it serves, and whether it can score a job's labels."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from service.errors import BackendError, BackendRefused, BackendUnavailable
from service.identifiers import Row
from service.records.scoring import BackendInfo, ServerFacts
from service.scoring.calls.gather import together
from service.scoring.probing.cache_trial import CacheFindings, Sample, fresh_text, infer_cache
from service.scoring.probing.identity import not_ready
from service.scoring.probing.label_trial import PROBE_TEXT, LabelFindings, TriedLabels
from service.scoring.probing.probe import EXAMPLES, server_info, with_findings
from service.scoring.wires.detection import DetectKind, misconfigured
from service.scoring.wires.http import JsonHttp
from service.scoring.wires.kind import Kind
from service.scoring.wires.wire import Token
from service.search.predictions.prompt_tree import PromptTree, Query, TreeScores

_CLAIMS = 8  # in the prompt of the cache trial: about a hundred tokens


class Score(Protocol):
    """A function that scores a prompt tree."""

    async def __call__(
        self, tree: PromptTree, labels: Sequence[str], *, all_spellings: bool = False, separator: str = ""
    ) -> TreeScores:
        """Score the tree. Raises BackendError."""


class EmbeddedExaminer:
    """Probes the embedded server behind `http`: `facts` reads its description, `score` scores trees by it.

    `detect` finds out which kind of server answers at the address; without it the probe trusts the settings.
    """

    def __init__(
        self,
        name: str,
        kind: Kind,
        http: JsonHttp,
        *,
        facts: Callable[[], Awaitable[ServerFacts]],
        score: Score,
        detect: DetectKind | None = None,
    ) -> None:
        self._name = name
        self._kind = kind
        self._http = http
        self._detect = detect
        self._facts = facts
        self._score = score
        self._fingerprint = ""
        self._cache = CacheFindings()

    async def __call__(self, labels: Sequence[str], *, all_spellings: bool, separator: str) -> BackendInfo:
        """Probe the server, and whether it can score these labels; errors become problems of the result."""
        tried = TriedLabels(labels or EXAMPLES, all_spellings, separator, as_text=False)
        try:
            facts = await self._facts()
            info = server_info(self._name, self._kind, facts, token_id_prompts=False)
            if facts.problems:  # without its adapter the server scores nothing
                return await self._unfit(info)
            found = await self._try_labels(tried)
            if not found.refusals:
                await self._try_cache(info, tried)
        except BackendUnavailable as error:
            return self._not_ready(error)
        except BackendRefused as error:
            return await self._unfit(self._not_ready(error))
        if found.refusals and (other_kind := await self._other_kind()) is not None:
            return self._not_ready(BackendRefused(other_kind))
        return with_findings(self._kind, info, found, self._cache)

    async def _unfit(self, info: BackendInfo) -> BackendInfo:
        """The result of a probe that ends here; if another kind of server answers, with this as its problem."""
        other_kind = await self._other_kind()
        return info if other_kind is None else self._not_ready(BackendRefused(other_kind))

    def _not_ready(self, error: BackendError) -> BackendInfo:
        return not_ready(self._name, self._kind.name, error)

    async def _other_kind(self) -> str | None:
        """Advice on the setting to change, if another kind of server gave a refusal."""
        return misconfigured(self._kind, await self._detect()) if self._detect else None

    async def _try_labels(self, tried: TriedLabels) -> LabelFindings:
        """Score one prompt alone, then two at once. Raises BackendUnavailable."""
        found, tree = LabelFindings(reports_tokens_computed=True), PromptTree("", (Query(Row(0), PROBE_TEXT),))
        try:
            alone = await self._ask(tree, tried)
            company = await together(self._ask(tree, tried) for _ in range(2))
        except BackendRefused as refusal:
            found.refusals.append(str(refusal))
            return found
        found.difference_nats = max(_difference(alone, scores) for scores in company)
        try:
            found.other_endings = await tried.other_endings(self._encode, await tried.tokens(self._encode))
        except BackendRefused:  # the server finds the labels' tokens itself; `/tokenize` is optional
            found.other_endings = None
        return found

    async def _try_cache(self, info: BackendInfo, tried: TriedLabels) -> None:
        """Score a prompt twice that no one has sent before, once for each server. Raises BackendError."""
        if info.fingerprint == self._fingerprint:
            return
        half = (info.context_tokens or 0) // 2  # a character has at most one token
        tree = PromptTree(fresh_text(_CLAIMS)[:half], (Query(Row(0), PROBE_TEXT),))
        cold, warm = [await self._ask(tree, tried) for _ in range(2)]
        usage = warm.usage
        found_all = usage.tokens_computed == usage.prompts  # servers always compute a prompt's last token
        sample = Sample(usage.tokens_sent - usage.tokens_computed, found_all, _difference(cold, warm))
        self._cache, self._fingerprint = infer_cache([sample]), info.fingerprint

    async def _ask(self, tree: PromptTree, tried: TriedLabels) -> TreeScores:
        return await self._score(tree, tried.labels, all_spellings=tried.all_spellings, separator=tried.separator)

    async def _encode(self, text: str) -> list[Token]:
        pieces: Sequence[dict[str, Any]] = await self._http.post("/tokenize", {"inputs": text})
        return [Token(piece["id"], piece["stop"]) for piece in pieces if piece["stop"] > piece["start"]]


def _difference(one: TreeScores, other: TreeScores) -> float:
    """The largest difference of a label's log-probability between two answers, nats."""
    pairs = zip(one.log_probabilities[Row(0)], other.log_probabilities[Row(0)], strict=True)
    return max(abs(left - right) for left, right in pairs)
