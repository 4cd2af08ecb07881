"""text-generation-inference, by its public client: TGI itself, and the embedded server through TGI's wire.

One generated token with the likeliest alternatives gives the log-probabilities of the wanted
tokens; prompt log-probabilities are never asked for, since they defeat TGI's prefix cache.
TGI takes text alone, and names at most as many alternatives as it was launched to (TGI 3.3.7:
router/src/validation.rs), a cap that `GET /info` does not tell.
"""

import math
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, ClassVar, Literal

import httpx2
from cachetools import LRUCache
from huggingface_hub import AsyncInferenceClient, TextGenerationInputGrammarType, TextGenerationOutput
from huggingface_hub.errors import HfHubHTTPError, InferenceTimeoutError, TextGenerationError
from pydantic import Field

from service.errors import BackendRefused, BackendUnavailable, FailureKind, LabelUnreachable
from service.records.scoring import ServerFacts
from service.scoring.calls.retry_rules import failed_answer, moment, retry_after_seconds
from service.scoring.wires.http import JsonHttp
from service.scoring.wires.kind import GetDocument, Kind, Remedies
from service.scoring.wires.replies import count, log_probability, of_one_distribution, reading
from service.scoring.wires.server_info import read_info
from service.scoring.wires.settings import WireBackend
from service.scoring.wires.token_offsets import whole_characters
from service.scoring.wires.wire import NextToken, Prompt, Token

_FIRST_TOP_TOKENS = 5  # TGI's own cap, enough for most label sets
_TOP_TOKENS_GROWTH = 10
_SPARE_TOP_TOKENS = 2  # times as many as were needed, since the next prompt may need more
_KEPT_TOP_TOKENS = 0.9  # of what was asked for; an odd prompt is forgotten after a few dozen others
_CAP = re.compile(r"`top_n_tokens` must be >= 0 and <= (\d+)")
_REMEMBERED = 10_000  # texts of tokens, and sets of wanted tokens
_NO_ROOM = "raise the server's --max-top-n-tokens and the backend's max_top_tokens"


async def _answers(get: GetDocument) -> bool:
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
    sign=_answers,
)


class TgiWire:
    """A server that speaks TGI's `/generate`, `/info` and `/tokenize`."""

    kind = KIND
    takes_token_ids = False

    def __init__(
        self, url: str, *, timeout_seconds: float, connections: int, max_top_tokens: int, api_key: str | None = None
    ) -> None:
        self._client = AsyncInferenceClient(model=f"{url}/generate", timeout=timeout_seconds, token=api_key)
        self._http = JsonHttp(url, timeout_seconds=timeout_seconds, connections=connections, api_key=api_key)
        self._cap = max_top_tokens
        self._needed = LRUCache[tuple[int, ...], int](_REMEMBERED)  # alternatives, by the wanted tokens
        self._texts = LRUCache[int, str](_REMEMBERED)

    async def facts(self) -> ServerFacts:
        """From `/info`. Raises BackendError."""
        info = await self._http.get("/info")
        with reading("/info"):
            told = read_info(info)
        return replace(told, max_top_tokens=min(self._cap, told.max_top_tokens or self._cap))

    async def encode(self, text: str, *, special: bool = False) -> list[Token]:
        """The tokens by `/tokenize`, which tells those that the server adds by their having no place in the text."""
        if not text and not special:
            return []
        reply = await self._http.post("/tokenize", {"inputs": text})
        with reading("/tokenize"):
            tokens = list(_placed(text, [piece for piece in reply if special or piece["stop"] > piece["start"]]))
            for token, start in tokens[-_REMEMBERED:]:
                self._texts[token.id] = text[start : token.end]
            return [token for token, _ in tokens]

    async def next_token(self, prompt: Prompt, wanted: Sequence[int]) -> NextToken:
        """As many alternatives as were needed last time, then more, at last a grammar. Raises BackendError.

        The counts are those of all requests.
        """
        key, answers = tuple(wanted), list[NextToken]()
        top = min(max(_FIRST_TOP_TOKENS, len(key), self._needed.get(key) or 0), self._cap)
        while True:
            answer, top = await self._within_cap(prompt.text, top)
            answers.append(answer)
            if not _missing(answer, wanted):
                self._needed[key] = max(_SPARE_TOP_TOKENS * _rank(answer, wanted), int(_KEPT_TOP_TOKENS * top))
                return _summed(answers)
            if top >= self._cap:
                self._needed[key] = self._cap
                answers.append(await self._by_grammar(prompt.text, wanted, top))
                return _summed(answers)
            top = min(top * _TOP_TOKENS_GROWTH, self._cap)

    async def close(self) -> None:
        """Close every connection."""
        await self._client.close()  # type: ignore[no-untyped-call]  # the library leaves it untyped
        await self._http.close()

    async def _within_cap(self, text: str, top: int) -> tuple[NextToken, int]:
        """An answer with so many alternatives, or with as many as the server names in refusing them."""
        try:
            return await self._generate(text, top), top
        except BackendRefused as refusal:
            told = _CAP.search(str(refusal))
            if told is None or not 0 < int(told[1]) < top:
                raise
            self._cap = int(told[1])
        return await self._generate(text, self._cap), self._cap

    async def _by_grammar(self, text: str, wanted: Sequence[int], top: int) -> NextToken:
        """The wanted tokens made the only ones allowed. Raises LabelUnreachable.

        TGI takes the logarithm of the softmax after it has masked what the regular expression does
        not allow (server/text_generation_server/utils/tokens.py), which leaves differences as they
        are. Beginnings of the tokens' texts are allowed too and may take places among the alternatives.
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
        return NextToken(answer.by_id, answer.tokens_sent, answer.tokens_computed, relative=True)

    async def _generate(self, text: str, top: int, grammar: TextGenerationInputGrammarType | None = None) -> NextToken:
        with reading("/generate"):
            async with _translated_errors():
                output = await self._client.text_generation(
                    text, details=True, max_new_tokens=1, do_sample=False, top_n_tokens=top, grammar=grammar
                )
            return _read(output)


class TgiBackend(WireBackend):
    """The settings of a backend of this kind."""

    of_kind: ClassVar[Kind] = KIND

    kind: Literal["tgi"] = "tgi"
    max_top_tokens: int = Field(
        1000, ge=1, description="the server's --max-top-n-tokens; 5 is TGI's own default, the embedded server has 1000"
    )

    def wire(self, url: str) -> TgiWire:
        """The wire to one of the backend's servers."""
        return TgiWire(url, max_top_tokens=self.max_top_tokens, **self.connection)


def _placed(text: str, pieces: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Token, int]]:
    """The tokens, and where each begins, in characters.

    TGI's router gives what the tokenizer library's `encode` gives, which counts bytes of UTF-8; the
    embedded server counts characters. Either way the last token ends where the text does.
    """
    counts_bytes = max((count(piece["stop"]) for piece in pieces), default=0) > len(text)
    place: Callable[[int], int] = whole_characters(text).__getitem__ if counts_bytes else int
    for piece in pieces:
        yield Token(count(piece["id"]), place(count(piece["stop"]))), place(count(piece["start"]))


def _read(output: TextGenerationOutput) -> NextToken:
    """The alternatives of the generated token; `details` may carry counts that TGI itself does not give."""
    details = output.details
    if details is None or not details.top_tokens:
        raise BackendRefused("the server answered without `details.top_tokens`, which scoring needs")
    alternatives: Sequence[dict[str, Any]] = details.top_tokens[0]  # the client leaves the inner list as it came
    named = {count(token["id"]): token["logprob"] for token in alternatives}
    by_id = {token: log_probability(value) for token, value in named.items() if value is not None}  # null is log 0
    of_one_distribution(by_id.values())
    sent, computed = details.get("prompt_tokens"), details.get("computed_tokens")
    return NextToken(by_id, None if sent is None else count(sent), None if computed is None else count(computed))


def _literal(text: str) -> str:
    """A regular expression for this text alone; what needs no escape has none, since TGI's parser is not Python's."""
    return re.sub(r"[\\.^$*+?{}\[\]|()]", r"\\\g<0>", text)


def _missing(answer: NextToken, wanted: Sequence[int]) -> bool:
    return any(answer.by_id.get(token, -math.inf) == -math.inf for token in wanted)


def _rank(answer: NextToken, wanted: Sequence[int]) -> int:
    """How many of the likeliest alternatives hold all wanted tokens."""
    least = min((answer.by_id[token] for token in wanted), default=0.0)
    return sum(value >= least for value in answer.by_id.values())


def _summed(answers: Sequence[NextToken]) -> NextToken:
    """The last answer, at the cost of all."""
    last = answers[-1]
    return NextToken(
        last.by_id,
        _sum([answer.tokens_sent for answer in answers]),
        _sum([answer.tokens_computed for answer in answers]),
        last.relative,
        len(answers),
    )


def _sum(counts: Sequence[int | None]) -> int | None:
    known = [number for number in counts if number is not None]
    return sum(known) if len(known) == len(counts) else None


@asynccontextmanager
async def _translated_errors() -> AsyncIterator[None]:
    """The public client's errors as ours; where it makes one of an HTTP answer, that is the error's cause."""
    try:
        yield
    except InferenceTimeoutError as error:
        raise BackendUnavailable(f"/generate: {error}", kind=FailureKind.TIMED_OUT) from error
    except httpx2.TransportError as error:
        message = f"/generate: {type(error).__name__} {error}".strip()
        raise BackendUnavailable(message, kind=FailureKind.DISCONNECTED) from error
    except RecursionError as error:  # the client compares what it sets with what it has, and NaN equals nothing
        raise BackendUnavailable("/generate gave NaN for a number", kind=FailureKind.MALFORMED) from error
    except (HfHubHTTPError, TextGenerationError) as error:
        answered = error if isinstance(error, HfHubHTTPError) else error.__cause__
        if not isinstance(answered, HfHubHTTPError):
            raise BackendUnavailable(f"/generate: {error}", kind=FailureKind.MALFORMED) from error
        raise _failure(answered.response) from error


def _failure(response: httpx2.Response) -> BackendUnavailable | BackendRefused:
    now = moment(response.headers.get("date"))
    after = retry_after_seconds(response.headers.get("retry-after"), now=now)
    return failed_answer(response.status_code, response.text, where="/generate", retry_after_seconds=after)
