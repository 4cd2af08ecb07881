"""Speaks to llama.cpp's `llama-server` (a wire): scores the likeliest tokens by `POST /completion`.

Source: llama.cpp's `tools/server` (`README.md`, `server-schema.cpp`, `server-task.cpp`,
`server-context.cpp`). With `post_sampling_probs` off, `n_probs` gives a softmax over the whole
vocabulary, before samplers and biases. If a wanted token is not among the likeliest, the wire asks
for ten times as many, up to the vocabulary; the prompt is in the server's cache by then.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, Unpack

from service.errors import BackendRefused, BackendUnavailable
from service.records.scoring import ServerFacts
from service.scoring.wires.http import Connection, JsonHttp
from service.scoring.wires.kind import GetDocument, Kind, Remedies
from service.scoring.wires.replies import (
    check_not_truncated,
    checked,
    combined,
    computed_tokens,
    count,
    log_probability,
    positive_or_none,
    reading,
    text_or_none,
    token_ids,
)
from service.scoring.wires.settings import WireBackend
from service.scoring.wires.special_tokens import with_token_ids
from service.scoring.wires.token_offsets import SHORT_CHARACTERS, with_offsets
from service.scoring.wires.wire import NextToken, Prompt, Token

_FIRST_ALTERNATIVES = 200
_GROWTH = 10
_FORCED = 1e4  # a logit bias larger than any difference of logits


async def _recognises(get: GetDocument) -> bool:
    return "default_generation_settings" in await get("/props")


KIND = Kind(
    name="llamacpp",
    title="llama.cpp",
    remedies=Remedies(
        unreachable_label="take other labels, or a release of llama-server whose /completion takes a larger `n_probs`",
        computed_tokens="use a release of llama-server that reports `timings.cache_n`",
        prefix_cache="launch the server with --cache-prompt and, for a model with sliding-window attention, --swa-full",
        cache_block="use a release of llama-server that reuses a prompt token by token",
        differing_calls="launch the server with one slot (-np 1) and a KV cache of full precision "
        "(--cache-type-k f16 --cache-type-v f16)",
        context="set --ctx-size; every slot gets its share of it",
    ),
    recognises=_recognises,
    without_adapters="convert the adapter with convert_lora_to_gguf.py, start a server with --lora FILE as a backend "
    "of its own, and name that backend as the model",
)


class LlamaCppWire:
    """The wire to a `llama-server` with one language model."""

    kind = KIND
    takes_token_ids = True

    def __init__(self, url: str, **connection: Unpack[Connection]) -> None:
        self._http = JsonHttp(url, **connection)

    async def facts(self) -> ServerFacts:
        """Read `/props` and `/v1/models`. Raises BackendError."""
        props = await self._http.get("/props")
        with reading("/props"):
            return read_facts(props, await self._model())

    async def encode(self, text: str, *, special: bool = False) -> list[Token]:
        """Encode by `/tokenize`; for a short text, with the tokens' offsets. Raises BackendError."""
        with_pieces = len(text) <= SHORT_CHARACTERS
        body = {"content": text, "add_special": special, "parse_special": False, "with_pieces": with_pieces}
        reply = await self._http.post("/tokenize", body)
        with reading("/tokenize"):
            if not with_pieces:
                return [Token(token) for token in token_ids(reply["tokens"])]
            ids = token_ids([token["id"] for token in reply["tokens"]])
            return with_offsets(text, ids, [[_piece(token["piece"]) for token in reply["tokens"]]])

    async def next_token(self, prompt: Prompt, wanted: Sequence[int]) -> NextToken:
        """Make one call, or several if a wanted token is not among the likeliest. Raises BackendError."""
        prompt = await with_token_ids(prompt, self.encode)
        alternatives = _FIRST_ALTERNATIVES
        answers = await self._complete(prompt, alternatives, wanted)
        while any(token not in answers[-1].by_id for token in wanted):
            vocabulary = positive_or_none((await self._model()).get("n_vocab"))
            if vocabulary is None or alternatives >= vocabulary:
                break
            alternatives = min(alternatives * _GROWTH, vocabulary)
            answers += await self._complete(prompt, alternatives, wanted)
        return checked(combined(answers), wanted)

    async def close(self) -> None:
        """Close every connection."""
        await self._http.close()

    async def _model(self) -> Mapping[str, Any]:
        """The entry of the first model in `/v1/models`, merged with its `meta` (`n_vocab`, `n_ctx_train`)."""
        models = await self._http.get("/v1/models")
        with reading("/v1/models"):
            model = models["data"][0]
            return {"id": model["id"], **(model.get("meta") or {})}

    async def _complete(self, prompt: Prompt, alternatives: int, wanted: Sequence[int]) -> list[NextToken]:
        """The answers of one or two calls; only the last one counts for log-probabilities.

        The server withholds log-probabilities if the generated token is a part of a character. Then the second
        call forces a wanted token in place of the likeliest, which does not change the log-probabilities.
        """
        body = {
            "prompt": prompt.text if prompt.token_ids is None else list(prompt.token_ids),
            "n_predict": 1,
            "n_probs": alternatives,
            "temperature": 0,
            "samplers": ["temperature"],
            "post_sampling_probs": False,
            "cache_prompt": True,
        }
        given = None if prompt.token_ids is None else len(prompt.token_ids)
        first = await self._post(body, given)
        if first.by_id or not wanted:
            return [first]
        return [first, await self._post({**body, "logit_bias": [[wanted[0], _FORCED]]}, given)]

    async def _post(self, body: Mapping[str, Any], given: int | None) -> NextToken:
        reply = await self._http.post("/completion", body)
        with reading("/completion"):
            answer = read_completion(reply)
        if given is not None:
            check_not_truncated(given, answer.tokens_sent)
        return answer


class LlamaCppBackend(WireBackend):
    """The settings of a backend of kind `llamacpp`."""

    of_kind: ClassVar[Kind] = KIND

    kind: Literal["llamacpp"] = "llamacpp"

    def wire(self, url: str) -> LlamaCppWire:
        """The wire to one of the backend's servers."""
        return LlamaCppWire(url, **self.connection)


def read_completion(reply: Any) -> NextToken:
    """Read a reply to `/completion`; its `tokens_cached` counts the cache after the call, so it is not used.

    Raises what `reading` translates; BackendRefused if the server truncated the prompt, BackendUnavailable if it
    ended the call early.
    """
    if reply.get("truncated"):
        raise BackendRefused("llama-server cut the prompt: raise its --ctx-size, of which every slot gets its share")
    if count(reply["tokens_predicted"]) == 0:
        raise BackendUnavailable(f"llama-server ended the call without a token: {reply.get('stop_type')!r}")
    sent, timings = count(reply["tokens_evaluated"]), reply.get("timings") or {}
    computed = computed_tokens(sent, timings.get("cache_n"))
    if computed is None and timings.get("prompt_n") is not None:
        computed = count(timings["prompt_n"])
    return NextToken(dict(_pairs(reply)), sent, computed)


def _pairs(reply: Mapping[str, Any]) -> Iterator[tuple[int, float]]:
    """The likeliest tokens with their log-probabilities; some releases call the list `probs`, as the README does.

    The entry of the generated token itself is unreliable: the server writes probability 1 unless it finds the token
    among the likeliest. If the server generated more than one token, to complete a character, there are no pairs.
    """
    if reply["tokens_predicted"] == 1:
        for generated in (reply.get("completion_probabilities") or reply.get("probs") or [])[:1]:
            for token in generated["top_logprobs"]:
                yield count(token["id"]), log_probability(token["logprob"])


def _piece(piece: str | list[int]) -> bytes:
    """The bytes of a piece; the server sends a piece that is not valid text as a list of bytes."""
    return piece.encode() if isinstance(piece, str) else bytes(piece)


def read_facts(props: Mapping[str, Any], model: Mapping[str, Any]) -> ServerFacts:
    """The facts in the server's description. Raises what `reading` translates.

    `n_ctx` is that of one slot. The limit is two tokens less: with one token less, the answer is `truncated`.
    """
    context = positive_or_none(props["default_generation_settings"].get("n_ctx"))
    return ServerFacts(
        model=text_or_none(props.get("model_path")) or text_or_none(model["id"]),
        server_version=text_or_none(props.get("build_info")),
        context_tokens=context and context - 2,
        max_concurrent_requests=positive_or_none(props.get("total_slots")),
        cache_block_tokens=1,
    )
