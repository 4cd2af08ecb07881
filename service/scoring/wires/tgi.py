"""Speaks to text-generation-inference (TGI; a wire) by its public client: scores the likeliest next tokens.

The embedded server understands this wire, too. One generated token with its likeliest alternatives gives the
log-probabilities of the wanted tokens. The wire never asks for log-probabilities of the prompt, since they
defeat TGI's prefix cache. TGI takes only text. It limits the number of alternatives by a launch option (TGI 3.3.7:
router/src/validation.rs), which `GET /info` does not report.
"""

import math
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, ClassVar, Literal, Unpack

import httpx2
from cachetools import LRUCache
from huggingface_hub import AsyncInferenceClient, TextGenerationInputGrammarType, TextGenerationOutput
from huggingface_hub.errors import HfHubHTTPError, InferenceTimeoutError, TextGenerationError
from pydantic import Field

from service.errors import BackendRefused, BackendUnavailable, FailureKind, LabelUnreachable
from service.records.scoring import ServerFacts
from service.scoring.calls.retry_rules import failed_answer, retry_after_seconds
from service.scoring.wires.http import BROKEN_CONNECTION, NO_CONNECTION, Connection, JsonHttp
from service.scoring.wires.kind import GetDocument, Kind, Remedies
from service.scoring.wires.replies import check_one_distribution, combined, count, log_probability, reading
from service.scoring.wires.server_info import read_info
from service.scoring.wires.settings import WireBackend
from service.scoring.wires.token_offsets import whole_characters
from service.scoring.wires.wire import NextToken, Prompt, Token

_FIRST_TOP_TOKENS = 5  # TGI's own cap, enough for most label sets
_TOP_TOKENS_GROWTH = 10
_SPARE_TOP_TOKENS = 2  # times the number that the last prompt needed, since the next one may need more
_KEPT_TOP_TOKENS = 0.9  # of the last request's number, so that an odd prompt loses its effect after a few dozen others
_CAP = re.compile(r"`top_n_tokens` must be >= 0 and <= (\d+)")
_REMEMBERED = 10_000  # texts of tokens, and sets of wanted tokens
_NO_ROOM = "raise the server's --max-top-n-tokens and the backend's max_top_tokens"


async def _recognises(get: GetDocument) -> bool:
    return "router" in await get("/info")


KIND = Kind(
    name="tgi",
    title="text-generation-inference",
    remedies=Remedies(
        unreachable_label="launch the server with a higher --max-top-n-tokens (200 is a good start, its own default "
        "is 5) and set the backend's max_top_tokens to the same number",
        computed_tokens="text-generation-inference never does; vLLM, SGLang and llama.cpp do",
        prefix_cache="set PREFIX_CACHING=1 where the server runs; it needs the attention of flashinfer or "
        "flashdecoding, a GPU of compute capability 8.0 or more, and heads of 64, 128 or 256",
        cache_block="launch the server with ATTENTION=flashinfer, which caches token by token",
        differing_calls="text-generation-inference has no switch for it; --dtype float32 makes it small, and vLLM "
        "with VLLM_BATCH_INVARIANT=1 removes it",
        context="set --max-input-tokens",
    ),
    recognises=_recognises,
)


class TgiWire:
    """The wire to a server with TGI's `/generate`, `/info` and `/tokenize`."""

    kind = KIND
    takes_token_ids = False

    def __init__(self, url: str, *, max_top_tokens: int, **connection: Unpack[Connection]) -> None:
        timeout_seconds, api_key = connection["timeout_seconds"], connection.get("api_key")
        self._client = AsyncInferenceClient(model=f"{url}/generate", timeout=timeout_seconds, token=api_key)
        self._http = JsonHttp(url, **connection)
        self._cap = max_top_tokens
        self._needed = LRUCache[tuple[int, ...], int](_REMEMBERED)  # alternatives, by the wanted tokens
        self._texts = LRUCache[int, str](_REMEMBERED)

    async def facts(self) -> ServerFacts:
        """Read `/info`. Raises BackendError."""
        info = await self._http.get("/info")
        with reading("/info"):
            facts = read_info(info)
        return replace(facts, max_top_tokens=min(self._cap, facts.max_top_tokens or self._cap))

    async def encode(self, text: str, *, special: bool = False) -> list[Token]:
        """Encode by `/tokenize`, where special tokens that the server adds have an empty range in the text."""
        if not text and not special:
            return []
        reply = await self._http.post("/tokenize", {"inputs": text})
        with reading("/tokenize"):
            tokens = list(_with_starts(text, [piece for piece in reply if special or piece["stop"] > piece["start"]]))
            for token, start in tokens[-_REMEMBERED:]:
                self._texts[token.id] = text[start : token.end]
            return [token for token, _ in tokens]

    async def next_token(self, prompt: Prompt, wanted: Sequence[int]) -> NextToken:
        """Ask for as many alternatives as the last call needed, then for more, and finally use a grammar.

        The token counts are sums over all requests. Raises BackendError.
        """
        key, answers = tuple(wanted), list[NextToken]()
        top = min(max(_FIRST_TOP_TOKENS, len(key), self._needed.get(key) or 0), self._cap)
        while True:
            answer, top = await self._within_cap(prompt.text, top)
            answers.append(answer)
            if not _missing(answer, wanted):
                self._needed[key] = max(_SPARE_TOP_TOKENS * _rank(answer, wanted), int(_KEPT_TOP_TOKENS * top))
                return combined(answers)
            if top >= self._cap:
                self._needed[key] = self._cap
                answers.append(await self._by_grammar(prompt.text, wanted, top))
                return combined(answers)
            top = min(top * _TOP_TOKENS_GROWTH, self._cap)

    async def close(self) -> None:
        """Close every connection."""
        await self._client.close()  # type: ignore[no-untyped-call]  # the library leaves it untyped
        await self._http.close()

    async def _within_cap(self, text: str, top: int) -> tuple[NextToken, int]:
        """An answer with `top` alternatives, or with the server's maximum if it refuses and names that."""
        try:
            return await self._generate(text, top), top
        except BackendRefused as refusal:
            cap = _CAP.search(str(refusal))
            if cap is None or not 0 < int(cap[1]) < top:
                raise
            self._cap = int(cap[1])
        return await self._generate(text, self._cap), self._cap

    async def _by_grammar(self, text: str, wanted: Sequence[int], top: int) -> NextToken:
        """Score the wanted tokens under a grammar that allows no others. Raises LabelUnreachable.

        TGI computes the log-softmax after masking all tokens that the regular expression forbids
        (server/text_generation_server/utils/tokens.py). That preserves differences between tokens. Tokens
        that are prefixes of the wanted texts are allowed, too, and may take up alternatives.
        """
        texts = [self._texts.get(token) or "" for token in wanted]
        missing = f"no log-probability for a wanted token among the {top} likeliest; {_NO_ROOM}"
        if not all(texts):
            raise LabelUnreachable(missing)
        grammar = TextGenerationInputGrammarType(type="regex", value=f"({'|'.join(map(_literal, texts))})")
        try:
            answer = await self._generate(text, top, grammar)
        except BackendRefused as refusal:
            raise LabelUnreachable(f"{missing} (nor does the server take a grammar: {refusal})") from refusal
        if _missing(answer, wanted):
            raise LabelUnreachable(f"{missing} (nor does a grammar help)")
        return replace(answer, relative=True)

    async def _generate(self, text: str, top: int, grammar: TextGenerationInputGrammarType | None = None) -> NextToken:
        with reading("/generate"):
            async with _translate_errors():
                output = await self._client.text_generation(
                    text, details=True, max_new_tokens=1, do_sample=False, top_n_tokens=top, grammar=grammar
                )
            return _read(output)


class TgiBackend(WireBackend):
    """The settings of a backend of kind `tgi`."""

    of_kind: ClassVar[Kind] = KIND

    kind: Literal["tgi"] = "tgi"
    max_top_tokens: int = Field(
        1000, ge=1, description="the server's --max-top-n-tokens; 5 is TGI's own default, the embedded server has 1000"
    )

    def wire(self, url: str) -> TgiWire:
        """The wire to one of the backend's servers."""
        return TgiWire(url, max_top_tokens=self.max_top_tokens, **self.connection)


def _with_starts(text: str, pieces: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Token, int]]:
    """The tokens, each with the character at which it begins.

    TGI's router returns the offsets of the tokenizer library's `encode`, which count bytes of UTF-8; the
    embedded server counts characters. In both cases the last token ends with the text.
    """
    counts_bytes = max((count(piece["stop"]) for piece in pieces), default=0) > len(text)
    place: Callable[[int], int] = whole_characters(text).__getitem__ if counts_bytes else int
    for piece in pieces:
        yield Token(count(piece["id"]), place(count(piece["stop"]))), place(count(piece["start"]))


def _read(output: TextGenerationOutput) -> NextToken:
    """The alternatives of the generated token; only the embedded server adds token counts to `details`."""
    details = output.details
    if details is None or not details.top_tokens:
        raise BackendRefused("the server answered without `details.top_tokens`, which scoring needs")
    alternatives: Sequence[dict[str, Any]] = details.top_tokens[0]  # the client leaves the inner list as it came
    named = {count(token["id"]): token["logprob"] for token in alternatives}
    by_id = {token: log_probability(value) for token, value in named.items() if value is not None}  # null is log 0
    check_one_distribution(by_id.values())
    sent, computed = details.get("prompt_tokens"), details.get("computed_tokens")
    return NextToken(by_id, None if sent is None else count(sent), None if computed is None else count(computed))


def _literal(text: str) -> str:
    """A regular expression that matches only this text, with as few escapes as possible for TGI's own parser."""
    return re.sub(r"[\\.^$*+?{}\[\]|()]", r"\\\g<0>", text)


def _missing(answer: NextToken, wanted: Sequence[int]) -> bool:
    return any(answer.by_id.get(token, -math.inf) == -math.inf for token in wanted)


def _rank(answer: NextToken, wanted: Sequence[int]) -> int:
    """The number of likeliest alternatives needed to include all wanted tokens."""
    least = min((answer.by_id[token] for token in wanted), default=0.0)
    return sum(value >= least for value in answer.by_id.values())


@asynccontextmanager
async def _translate_errors() -> AsyncIterator[None]:
    """Translate the public client's errors to backend errors; the HTTP answer may be the error's cause."""
    try:
        yield
    except InferenceTimeoutError as error:
        raise BackendUnavailable(f"/generate: {error}", kind=FailureKind.TIMED_OUT) from error
    except httpx2.TransportError as error:
        unconnected = isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
        reason = NO_CONNECTION if unconnected else BROKEN_CONNECTION
        raise BackendUnavailable(f"/generate: {reason}", kind=FailureKind.DISCONNECTED) from error
    except RecursionError as error:  # the client compares values while setting them, and NaN never equals itself
        raise BackendUnavailable("/generate gave NaN for a number", kind=FailureKind.MALFORMED) from error
    except (HfHubHTTPError, TextGenerationError) as error:
        answered = error if isinstance(error, HfHubHTTPError) else error.__cause__
        if not isinstance(answered, HfHubHTTPError):
            raise BackendUnavailable(f"/generate: {error}", kind=FailureKind.MALFORMED) from error
        reply = answered.response
        after = retry_after_seconds(reply.headers)
        raise failed_answer(reply.status_code, reply.text, where="/generate", retry_after_seconds=after) from error
