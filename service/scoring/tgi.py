"""Scores through text-generation-inference, by its public client: TGI itself, and the embedded server.

One generated token with the likeliest alternatives gives the log-probabilities of the
labels' tokens; prompt log-probabilities are never asked for, since they defeat TGI's
prefix cache. Labels of several tokens follow the chain rule.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
from huggingface_hub import AsyncInferenceClient, TextGenerationOutput
from huggingface_hub.errors import (
    GenerationError,
    HfHubHTTPError,
    IncompleteGenerationError,
    InferenceTimeoutError,
    OverloadedError,
    ValidationError,
)

from service.errors import BackendRefused, BackendUnavailable, LabelUnreachable
from service.identifiers import Row
from service.ports import BackendIdentity, BackendInfo
from service.scoring.driving import Driver
from service.scoring.failures import retry_after_seconds
from service.scoring.http import JsonHttp
from service.scoring.info import described, not_ready
from service.scoring.labels import LabelToken, LabelTokens
from service.scoring.tokens import TokenCounter
from service.search.prompt_tree import LogProbabilities, PromptTree, TreeScores, Usage

PROBE_TEXT = "The sky is blue."
_FIRST_TOP_TOKENS = 5  # TGI's own cap, enough for most label sets
_TOP_TOKENS_GROWTH = 10


@dataclass(frozen=True, slots=True)
class _NextToken:
    """What one call tells: log-probabilities by token id, tokens sent and computed where the server says."""

    by_id: dict[int, float]
    tokens_sent: int | None
    tokens_computed: int | None


class TgiScorer:
    """A server that speaks TGI's `/generate`, `/info` and `/tokenize`."""

    def __init__(
        self, name: str, url: str, *, concurrency: int = 64, timeout_seconds: float = 120.0, max_top_tokens: int = 5
    ) -> None:
        self._name = name
        self._client = AsyncInferenceClient(model=f"{url}/generate", timeout=timeout_seconds)
        self._http = JsonHttp(url, timeout_seconds=timeout_seconds, connections=concurrency)
        self._driver = Driver(concurrency=concurrency)
        self._max_top_tokens = max_top_tokens
        self._counter = TokenCounter(self._http)
        self._labels: dict[tuple[str, ...], LabelTokens] = {}

    async def probe(self, labels: Sequence[str] = (), *, all_spellings: bool = False) -> BackendInfo:
        """Ask for `/info` and score one prompt twice; what is wrong is in the answer's problems."""
        del all_spellings
        try:
            info = await self._http.get("/info")
            problems, reports = await self._try_out(labels)
        except (BackendUnavailable, BackendRefused) as error:
            return not_ready(self._name, "tgi", error)
        return described(self._name, "tgi", info, problems, reports_tokens_computed=reports)

    async def identify(self) -> BackendIdentity:
        """What `/info` says. Raises BackendError."""
        info = described(self._name, "tgi", await self._http.get("/info"), (), reports_tokens_computed=False)
        return BackendIdentity(info.fingerprint)

    async def score(self, tree: PromptTree, labels: Sequence[str], *, all_spellings: bool = False) -> TreeScores:
        """All queries, in depth-first order, as many at once as there are slots. Raises BackendError."""
        del all_spellings
        tokens = await self._label_tokens(labels)
        scored = await asyncio.gather(*(self._score_prompt(row, prompt, tokens) for row, prompt in tree.prompts()))
        usage = sum((cost for _, _, cost in scored), Usage())
        if usage.modelled:
            usage = await self._modelled(tree)
        return TreeScores({row: values for row, values, _ in scored}, usage)

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens by the server's tokenizer, special tokens not counted. Raises BackendError."""
        return await self._counter.count(texts)

    async def close(self) -> None:
        """Close every connection."""
        await self._client.close()  # type: ignore[no-untyped-call]  # the library leaves it untyped
        await self._http.close()

    async def _try_out(self, labels: Sequence[str]) -> tuple[list[str], bool]:
        """What keeps these labels from being scored, and whether the server reports computed tokens."""
        first = await self._next_token(PROBE_TEXT, _FIRST_TOP_TOKENS)
        again = await self._next_token(PROBE_TEXT, _FIRST_TOP_TOKENS)
        problems = []
        if not first.by_id:
            problems.append("the server gives no top tokens; scoring needs `details.top_tokens`")
        if set(first.by_id) != set(again.by_id):
            problems.append("two identical calls gave different top tokens")
        if labels:
            try:
                await self._label_tokens(labels)
            except BackendRefused as error:
                problems.append(str(error))
        return problems, first.tokens_computed is not None

    async def _label_tokens(self, labels: Sequence[str]) -> LabelTokens:
        key = tuple(labels)
        if key not in self._labels:
            self._labels[key] = await LabelTokens.find(self._http, key)
        return self._labels[key]

    async def _score_prompt(self, row: Row, prompt: str, labels: LabelTokens) -> tuple[Row, LogProbabilities, Usage]:
        """log p(label | prompt) by the chain rule: one call for each prefix that labels share."""
        usage, known = Usage(), dict[tuple[int, ...], dict[int, float]]()
        for prefix, text, wanted in labels.calls:
            answer = await self._reaching(prompt + text, wanted)
            known[prefix] = answer.by_id
            modelled = answer.tokens_computed is None
            usage += Usage(1, answer.tokens_sent or 0, answer.tokens_computed or 0, modelled)
        return row, labels.log_probabilities(known), usage

    async def _reaching(self, prompt: str, wanted: Sequence[LabelToken]) -> _NextToken:
        """A call that names enough alternatives to hold every wanted token. Raises LabelUnreachable."""
        top = min(max(_FIRST_TOP_TOKENS, len(wanted)), self._max_top_tokens)
        while True:
            answer = await self._next_token(prompt, top)
            missing = [token.text for token in wanted if token.id not in answer.by_id]
            if not missing:
                return answer
            if top >= self._max_top_tokens:
                raise LabelUnreachable(
                    f"no log-probability for {missing[0]!r} among the {top} likeliest tokens after "
                    f"{prompt[-80:]!r}; raise the server's --max-top-n-tokens and the backend's max_top_tokens"
                )
            top = min(top * _TOP_TOKENS_GROWTH, self._max_top_tokens)

    async def _next_token(self, prompt: str, top: int) -> _NextToken:
        """One call, tried again while the failure may pass."""
        return _read(await self._driver.call(lambda: self._generate(prompt, top)))

    async def _generate(self, prompt: str, top: int) -> TextGenerationOutput:
        async with _translated_errors():
            return await self._client.text_generation(
                prompt, details=True, max_new_tokens=1, do_sample=False, top_n_tokens=top
            )

    async def _modelled(self, tree: PromptTree) -> Usage:
        """What the tree costs with an ideal prefix cache, for servers that do not say."""
        nodes = list(_with_depth(tree, 0))
        lengths = await self.count_tokens([node.text for node, _ in nodes])
        queries = await self.count_tokens([query.text for node, _ in nodes for query in node.queries])
        path: list[int] = []
        sent = sum(queries)
        for (node, depth), length in zip(nodes, lengths, strict=True):
            path[depth:] = [length]
            sent += sum(path) * len(node.queries)
        return Usage(len(queries), sent, sum(lengths) + sum(queries), modelled=True)


def _with_depth(tree: PromptTree, depth: int) -> Iterable[tuple[PromptTree, int]]:
    yield tree, depth
    for child in tree.children:
        yield from _with_depth(child, depth + 1)


def _read(output: TextGenerationOutput) -> _NextToken:
    """The alternatives of the generated token; `details` may carry counts that TGI itself does not give."""
    details = output.details
    if details is None or not details.top_tokens:
        raise BackendRefused("the server answered without `details.top_tokens`")
    alternatives: Sequence[dict[str, Any]] = details.top_tokens[0]  # the client leaves the inner list as it came
    return _NextToken(
        {token["id"]: token["logprob"] for token in alternatives},
        details.get("prompt_tokens"),
        details.get("computed_tokens"),
    )


@asynccontextmanager
async def _translated_errors() -> AsyncIterator[None]:
    """The public client's errors as ours; TGI names the kind of failure in `error_type`."""
    try:
        yield
    except (OverloadedError, GenerationError, IncompleteGenerationError, InferenceTimeoutError) as error:
        raise BackendUnavailable(f"{type(error).__name__}: {error}") from error
    except ValidationError as error:
        raise BackendRefused(str(error)) from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status == 429 or status >= 500:
            after = retry_after_seconds(error.response.headers.get("retry-after"))
            raise BackendUnavailable(f"the server answered {status}", after) from error
        raise BackendRefused(f"the server answered {status}: {error.response.text[:500]}") from error
    except httpx2.TransportError as error:
        raise BackendUnavailable(f"{type(error).__name__}: {error}") from error
