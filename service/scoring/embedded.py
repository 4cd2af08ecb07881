"""Scores a whole prompt tree in one call to the embedded server, by that server's own wire.

The call sends each segment of a tree once, whatever the number of prompts that begin with it. The
server finds the labels' tokens and applies the chain rule.
"""

import math
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from service.errors import BackendRefused, BackendUnavailable, LabelUnreachable
from service.identifiers import Row
from service.records.scoring import BackendIdentity, BackendInfo, ServerFacts
from service.scoring.calls.executor import CallExecutor
from service.scoring.probing.embedded_probe import EmbeddedExaminer
from service.scoring.probing.identity import CANARY_PROMPTS, Canary, Recognition
from service.scoring.tokenization.token_counts import BatchTokenCounter
from service.scoring.trees.flat_tree import FlatTree, flatten
from service.scoring.wires.adapters import LoadableAdapter
from service.scoring.wires.detection import DetectKind
from service.scoring.wires.http import JsonHttp
from service.scoring.wires.kind import GetDocument, Kind, Remedies
from service.scoring.wires.replies import check_one_distribution, log_probability, reading
from service.scoring.wires.server_info import adapter_names, read_info, with_adapter
from service.scoring.wires.settings import BackendSettings, OptionalText
from service.search.predictions.prompt_tree import LogProbabilities, PromptTree, TreeScores, Usage
from service.values import further_spellings

# The control of `CallExecutor.call`: a minimal tree, which a healthy server always answers.
_CONTROL = {"nodes": [{"parent": None, "text": CANARY_PROMPTS[0]}], "queries": [{"node": 0, "text": ""}]}
_QUERIES_AT_ONCE = 64  # the time-out grows by one `timeout_seconds` for each 64 queries in flight
_ROUTER = "icm-inference"
_LOAD = "/v1/load_lora_adapter"


async def _recognises(get: GetDocument) -> bool:
    return (await get("/info")).get("router") == _ROUTER


KIND = Kind(
    name="embedded",
    title="the embedded inference server",
    remedies=Remedies(
        unreachable_label="launch the server with a higher --max-top-n-tokens, or set the backend's kind to "
        "'embedded', which reads every label",
        computed_tokens="use the inference server of this release",
        prefix_cache="launch the server with a higher --cache-tokens",
        cache_block="use the inference server of this release",
        differing_calls="launch the server with --dtype float32",
        context="use the inference server of this release",
    ),
    recognises=_recognises,
    speaks={
        "tgi": "the embedded server answers: with the backend's kind 'embedded' a whole prompt tree travels in one "
        "call",
        "vllm": "",
    },
)


@dataclass
class EmbeddedServer:
    """One server's connections, which scorers of its base and of its adapters share."""

    http: JsonHttp
    executor: CallExecutor
    timeout_seconds: float
    detect: DetectKind | None = None
    queries_under_way: int = 0


class EmbeddedScorer:
    """Scores by a server's `/v1/score_tree` and `/v1/count_tokens`, at most `concurrency` trees at once.

    `timeout_seconds` is the longest wait while up to 64 queries are in flight; it grows in proportion with more.
    With `adapter`, the name of one of the server's LoRA adapters, scores and identity are those of base and adapter.
    """

    def __init__(  # noqa: PLR0913 - settings of the backend, one by one
        self,
        name: str,
        url: str,
        *,
        concurrency: int = 64,
        timeout_seconds: float = 120.0,
        patience_seconds: float = 60.0,
        api_key: str | None = None,
        adapter: str | None = None,
        executor: CallExecutor | None = None,
        detect: DetectKind | None = None,
    ) -> None:
        server = EmbeddedServer(
            JsonHttp(url, timeout_seconds=timeout_seconds, connections=concurrency, api_key=api_key),
            executor or CallExecutor(concurrency=concurrency, patience_seconds=patience_seconds),
            timeout_seconds,
            detect,
        )
        self._begin(name, server, adapter)

    def _begin(
        self, name: str, server: EmbeddedServer, adapter: str | None, loadable: LoadableAdapter | None = None
    ) -> None:
        self._name = name
        self._server = server
        self._adapter = adapter
        self._loadable = loadable
        self._http, self._executor = server.http, server.executor
        self._counter = BatchTokenCounter(self._http, self._executor)
        self._examine = EmbeddedExaminer(
            name, KIND, self._http, facts=self._facts, score=self.score, detect=server.detect
        )
        self._recognition = Recognition(KIND.name, self._executor, facts=self._served, canary=self._canary)

    def adapted(self, adapter: LoadableAdapter) -> "EmbeddedScorer":
        """The scorer of the same server with a trained adapter, over the same connections.

        It loads the adapter whenever the server lacks it: at first, after a restart, after the server made room for
        others. Its calls raise AdapterRefused if the server does not take the adapter.
        """
        scorer = copy(self)
        scorer._begin(self._name, self._server, adapter.name, adapter)  # noqa: SLF001 - a copy of this object
        return scorer

    async def probe(
        self, labels: Sequence[str] = (), *, all_spellings: bool = False, separator: str = ""
    ) -> BackendInfo:
        """Read `/info` and score small trees repeatedly; errors become problems of the result."""
        return await self._examine(labels, all_spellings=all_spellings, separator=separator)

    async def identify(self) -> BackendIdentity:
        """Identify the server by `/info` and by the likeliest tokens' log-probabilities.

        Raises BackendError; BackendUnavailable while the server lacks the adapter, which somebody may load again.
        """
        return await self._recognition.identify()

    async def score(
        self, tree: PromptTree, labels: Sequence[str], *, all_spellings: bool = False, separator: str = ""
    ) -> TreeScores:
        """Score all queries in one call; the executor retries transient failures. Raises BackendError."""
        flat_tree = flatten(tree)
        if not flat_tree.leaves:
            return TreeScores({})
        body = _body(flat_tree, labels, all_spellings=all_spellings, separator=separator)
        control = partial(self._send, 1, {**_CONTROL, "labels": list(labels)})
        send = partial(self._executor.call, lambda: self._send(len(flat_tree.leaves), body), control=control)
        try:
            answer = await send()
        except BackendRefused:
            if self._adapter is None or not await self._is_loaded_again():
                raise
            answer = await send()
        try:
            return _read(answer, [leaf.row for leaf in flat_tree.leaves], labels)
        except (KeyError, TypeError, ValueError) as error:
            raise BackendRefused(f"/v1/score_tree gave an answer of another form: {error!r}") from error

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens by the server's tokenizer, special tokens not counted. Raises BackendError."""
        return await self._counter.count(texts)

    async def close(self) -> None:
        """Close every connection."""
        await self._http.close()

    async def _facts(self) -> ServerFacts:
        """The server's facts; loads a trained adapter first if the server lacks it."""
        info = await self._http.get("/info")
        if await self._loads(info):
            info = await self._http.get("/info")
        with reading("/info"):
            facts = read_info(info)
            return facts if self._adapter is None else with_adapter(facts, info, self._adapter)

    async def _is_loaded_again(self) -> bool:
        """Load the adapter if the server lost it, as in a restart, and so refuses every tree; return whether it did.

        Raises BackendError; BackendUnavailable if the adapter is still missing.
        """
        loaded = await self._executor.call(self._load_missing, measured=False)
        await self._served()
        return loaded

    async def _load_missing(self) -> bool:
        return await self._loads(await self._http.get("/info"))

    async def _loads(self, info: Any) -> bool:
        """Load the trained adapter if the server lacks it; return whether it did so. Raises BackendError."""
        adapter = self._loadable
        with reading("/info"):
            served, facts = adapter_names(info), read_info(info)
        if adapter is None or adapter.name in served:
            return False
        adapter.check_fingerprint(facts.revision, facts.model)
        path = await adapter.relative_path()
        words = await self._http.order(_LOAD, {"lora_name": adapter.name, "lora_path": path})
        if words is not None:
            raise adapter.refused(_refusal(words, path))
        return True

    async def _served(self) -> ServerFacts:
        """The facts. Raises BackendError; BackendUnavailable if the server lacks the adapter."""
        facts = await self._executor.call(self._facts, measured=False)
        if facts.problems:
            raise BackendUnavailable("; ".join(facts.problems))
        return facts

    async def _canary(self) -> Canary:
        """Measure the canary by the server's OpenAI wire, since trees score only labels. Raises BackendError."""
        body = {"prompt": list(CANARY_PROMPTS), "max_tokens": 1, "temperature": 0, "logprobs": 1}
        body |= {} if self._adapter is None else {"model": self._adapter}
        post = partial(self._http.post, "/v1/completions", body)
        answer = await self._executor.call(post, measured=False)
        with reading("/v1/completions"):
            choices = sorted(answer["choices"], key=lambda choice: int(choice["index"]))
            return tuple(log_probability(choice["logprobs"]["token_logprobs"][0]) for choice in choices)

    async def _send(self, queries: int, body: Mapping[str, Any]) -> Any:
        server = self._server
        server.queries_under_way += queries
        adapter = {} if self._adapter is None else {"adapter": self._adapter}
        waits = math.ceil(server.queries_under_way / _QUERIES_AT_ONCE)
        try:
            longest = server.timeout_seconds * waits
            return await self._http.post("/v1/score_tree", {**body, **adapter}, timeout_seconds=longest)
        finally:
            server.queries_under_way -= queries


class EmbeddedBackend(BackendSettings):
    """The settings of a backend of kind `embedded`."""

    of_kind: ClassVar[Kind] = KIND

    kind: Literal["embedded"] = "embedded"
    adapter: Annotated[OptionalText, Field(description="the server's name of a LoRA adapter; else the base")] = None

    def scorer(self, url: str, executor: CallExecutor, detect: DetectKind) -> EmbeddedScorer:
        """The scorer for one of the backend's servers."""
        return EmbeddedScorer(
            self.name,
            url,
            concurrency=self.concurrency,
            timeout_seconds=self.timeout_seconds,
            api_key=self.bearer_token,
            adapter=self.adapter,
            executor=executor,
            detect=detect,
        )


def _refusal(words: str, path: str) -> str:
    """Why the server did not load the adapter of this folder, and what to do; by default in the server's words."""
    if "--adapter-folder" in words:
        return (
            "the server loads no adapters while it runs; launch it with --adapter-folder and the folder that the "
            "service keeps adapters in (ICM_TRAINING__ADAPTERS)"
        )
    if "No adapter found" in words:
        return (
            f"the server has no folder {path} below its --adapter-folder; let that option name the folder that the "
            "service keeps adapters in (ICM_TRAINING__ADAPTERS)"
        )
    return f"the server says: {words}"


def _body(flat_tree: FlatTree, labels: Sequence[str], *, all_spellings: bool, separator: str) -> dict[str, Any]:
    """The request body: the tree as flat lists; `spellings` leaves out the label's own, which the server adds."""
    body: dict[str, Any] = {
        "nodes": [{"parent": segment.parent, "text": segment.text} for segment in flat_tree.segments],
        "queries": [{"node": leaf.segment, "text": leaf.text} for leaf in flat_tree.leaves],
        "labels": list(labels),
    }
    if all_spellings:
        body["spellings"] = further_spellings(labels, all_spellings=True)
    if separator:
        body["separator"] = separator
    return body


def _read(answer: Mapping[str, Any], rows: Sequence[Row], labels: Sequence[str]) -> TreeScores:
    """Read the server's answer; null is a label of probability 0, as JSON has no infinity. Raises LabelUnreachable."""
    scores: dict[Row, LogProbabilities] = {}
    failure: LabelUnreachable | None = None
    for row, values in zip(rows, answer["log_probabilities"], strict=True):
        read = tuple(-math.inf if value is None else log_probability(value) for value in values)
        missing = [label for label, value in zip(labels, read, strict=True) if value == -math.inf]
        if missing:
            failure = failure or LabelUnreachable(f"no log-probability for the label {missing[0]!r} of row {row}")
            failure.row = row if failure.row is None else failure.row
            continue
        scores[row] = read
        for each in scores[row]:  # one by one: without a separator, one label may be a prefix of another
            check_one_distribution([each])
    if failure is not None:
        failure.answered = dict[int, LogProbabilities](scores.items())
        raise failure
    usage = answer["usage"]
    return TreeScores(scores, Usage(usage["prompts"], usage["tokens_sent"], usage["tokens_computed"]))
