"""A fake text-generation-inference server (v3.3.7), from its OpenAPI document and its router's rules.

It takes text alone, puts the beginning token before it, names at most `max_top_n_tokens`
alternatives, refuses at once what exceeds `max_concurrent_requests`, keeps a prefix only when a
request has ended and tells nobody how much of a prompt it found.
"""

import re
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import numpy as np
import orjson
from pydantic import BaseModel, ValidationError

from tests.servers.fake import FakeServer, Handler, Load, Refusal, Reply, Seen
from tests.servers.faults import Fault, Plan
from tests.servers.language_model import END, SPECIALS, ToyLanguageModel, Values, masked, warmed
from tests.servers.prefix_caches import PrefixCache
from tests.servers.tgi_shapes import CompatGenerateRequest, GenerateParameters, GenerateRequest, RegexGrammar

_Body = TypeVar("_Body", bound=GenerateRequest)

_DEFAULT_NEW_TOKENS = 1024
_MOST_STEPS = 8  # of a generation without an end; a real server would continue


class FakeTgi(FakeServer):
    """TGI. With `offsets_in_bytes`, /tokenize counts bytes of UTF-8, as the router does, rather than characters."""

    kind = "tgi"
    scoring_paths: ClassVar[frozenset[str]] = frozenset({"/", "/generate"})

    def __init__(
        self,
        model: ToyLanguageModel | None = None,
        *,
        plan: Plan | None = None,
        latency_seconds: float = 0.0,
        api_key: str | None = None,
        model_id: str = "toy/model",
        model_sha: str | None = "a" * 40,
        max_concurrent_requests: int = 128,
        max_top_n_tokens: int = 5,
        max_input_tokens: int = 4095,
        payload_limit: int = 2_000_000,
        offsets_in_bytes: bool = True,
    ) -> None:
        load = Load(running=max_concurrent_requests, waiting=0)
        super().__init__(model, plan=plan, latency_seconds=latency_seconds, load=load, api_key=api_key)
        self.model_id = model_id
        self.model_sha = model_sha
        self.max_top_n_tokens = max_top_n_tokens
        self.max_input_tokens = max_input_tokens
        self.payload_limit = payload_limit
        self.offsets_in_bytes = offsets_in_bytes
        self._cache = PrefixCache()

    def routes(self) -> Mapping[tuple[str, str], Handler]:
        """TGI's own routes; scoring has no use for its OpenAI routes."""
        return {
            ("GET", "/info"): self._info,
            ("GET", "/health"): self._health,
            ("POST", "/tokenize"): self._tokenize,
            ("POST", "/generate"): self._generate,
            ("POST", "/"): self._compatible,
        }

    def failure(self, fault: Fault) -> Reply:
        """`error` and `error_type`, which TGI's clients read."""
        match fault:
            case Fault.FAILED:
                return _error("Incomplete generation", "incomplete_generation", 500)
            case Fault.UNAVAILABLE | Fault.UNAVAILABLE_SECONDS | Fault.UNAVAILABLE_DATE:
                return _error("unhealthy", "healthcheck", 503)
            case Fault.UNAUTHORIZED:
                return Reply(status=401, content=b"", media_type="text/plain")
            case Fault.REFUSED:
                return _invalid("`stop` supports up to 4 stop sequences. Given: 9")
            case _:
                return _error("Model is overloaded", "overloaded", 429)

    def spoil(self, fault: Fault, seen: Seen, content: Any) -> Any:
        """TGI does not report a cut prompt; an abort inside is a token without top tokens."""
        details = (content[0] if isinstance(content, list) else content).get("details") or {}
        rows = [*details.get("top_tokens", []), details.get("tokens", [])]
        match fault:
            case Fault.MISSING_LABEL:
                hidden = self.hidden_token
                shown = [[token for token in row if token["id"] != hidden] for row in details.get("top_tokens", [])]
                details["top_tokens"] = shown
                details["tokens"] = [
                    row[0] if token["id"] == hidden else token
                    for row, token in zip(shown, details["tokens"], strict=True)
                ]
            case Fault.NULL_VALUES | Fault.NAN_VALUES | Fault.POSITIVE_VALUES:
                for token in (token for row in rows for token in row):
                    token["logprob"] = _SPOILT[fault]
            case Fault.ABORTED:
                details.pop("top_tokens", None)
                details["tokens"], details["generated_tokens"] = [], 0
        return content

    def forget_prefixes(self) -> None:
        """Empty the radix trie."""
        self._cache.clear()

    async def _info(self, seen: Seen) -> Reply:
        return Reply(
            {
                "model_id": self.model_id,
                "model_sha": self.model_sha,
                "model_pipeline_tag": "text-generation",
                "max_concurrent_requests": self.load.running,
                "max_best_of": 2,
                "max_stop_sequences": 4,
                "max_input_tokens": self.max_input_tokens,
                "max_total_tokens": self.max_input_tokens + 1,
                "validation_workers": 2,
                "max_client_batch_size": 4,
                "router": "text-generation-router",
                "version": "3.3.7",
                "sha": "b" * 40,
                "docker_label": "sha-bbbbbbb",
            }
        )

    async def _health(self, seen: Seen) -> Reply:
        return Reply(b"", media_type="text/plain")

    async def _tokenize(self, seen: Seen) -> Reply:
        text = _read(GenerateRequest, seen.raw).inputs
        tokens = []
        for piece in self.model.tokenizer.encode(text, special=True):
            start, stop = piece.start, piece.stop
            if self.offsets_in_bytes:
                start, stop = (len(text[:place].encode()) for place in (start, stop))
            tokens.append({"id": piece.id, "text": text[start:stop], "start": start, "stop": stop})
        return Reply(tokens)

    async def _compatible(self, seen: Seen) -> Reply:
        body = _read(CompatGenerateRequest, seen.raw)
        if body.stream:
            raise Refusal(_invalid("streaming is not built into the fake"))
        parameters = body.parameters or GenerateParameters()
        if parameters.return_full_text is None:
            parameters = parameters.model_copy(update={"return_full_text": True})
        reply = await self._answer(body.inputs, parameters)
        return Reply([reply.content], headers=reply.headers)

    async def _generate(self, seen: Seen) -> Reply:
        if len(seen.raw) > self.payload_limit:
            raise Refusal(Reply("length limit exceeded", 413, media_type="text/plain"))
        body = _read(GenerateRequest, seen.raw)
        return await self._answer(body.inputs, body.parameters or GenerateParameters())

    async def _answer(self, inputs: str, parameters: GenerateParameters) -> Reply:
        if self.load.is_full():
            raise Refusal(self.failure(Fault.OVERLOADED))
        with self.load.counted():
            ids = self._validated(inputs, parameters)
            computed = len(ids) - (0 if parameters.decoder_input_details else self._cache.cached(ids))
            await self.computing(computed)
            steps = self._steps(ids, parameters)
            self._cache.insert(ids)
        return Reply(_generated(inputs, parameters, steps, self.model), headers=_headers(len(ids), len(steps)))

    def _validated(self, inputs: str, parameters: GenerateParameters) -> list[int]:
        """The prompt's tokens. Raises Refusal in the order of TGI's router."""
        total = self.max_input_tokens + 1
        top = parameters.top_n_tokens or 0
        if parameters.max_new_tokens == 0:
            raise Refusal(_invalid("`max_new_tokens` must be strictly positive"))
        if len(parameters.stop) > 4:
            raise Refusal(_invalid(f"`stop` supports up to 4 stop sequences. Given: {len(parameters.stop)}"))
        if top > self.max_top_n_tokens:
            raise Refusal(_invalid(f"`top_n_tokens` must be >= 0 and <= {self.max_top_n_tokens}. Given: {top}"))
        if not inputs:
            raise Refusal(_invalid("`inputs` cannot be empty"))
        ids = self.model.tokenizer.ids(inputs, special=True)
        ids = ids[-parameters.truncate :] if parameters.truncate else ids
        new = parameters.max_new_tokens
        if new is None:
            new = min(_DEFAULT_NEW_TOKENS, max(0, total - len(ids)))
        if len(ids) + new > total:
            raise Refusal(
                _invalid(
                    f"`inputs` tokens + `max_new_tokens` must be <= {total}. "
                    f"Given: {len(ids)} `inputs` tokens and {new} `max_new_tokens`"
                )
            )
        if len(ids) > self.max_input_tokens:
            raise Refusal(_invalid(f"`inputs` must have less than {self.max_input_tokens} tokens. Given: {len(ids)}"))
        return ids

    def _steps(self, ids: list[int], parameters: GenerateParameters) -> list[tuple[int, Values]]:
        """The greedily generated tokens, each with all values."""
        steps: list[tuple[int, Values]] = []
        for _ in range(min(parameters.max_new_tokens or _MOST_STEPS, _MOST_STEPS)):
            before = [token for token, _ in steps]
            values = self._warped(self.model.log_probabilities([*ids, *before]), before, parameters)
            steps.append((int(np.argmax(values)), values))
            if steps[-1][0] == END:
                break
        return steps

    def _warped(self, values: Values, generated: list[int], parameters: GenerateParameters) -> Values:
        """Log-probabilities after the grammar's mask and the temperature."""
        if isinstance(parameters.grammar, RegexGrammar):
            tokenizer = self.model.tokenizer
            written = tokenizer.decode(generated)
            ahead = [text[len(written) :] for text in _texts_of(parameters.grammar.value) if text.startswith(written)]
            permitted = [
                token for token in range(len(SPECIALS), tokenizer.size) if _begins(tokenizer.text_of(token), ahead)
            ]
            values = masked(values, permitted or [END])
        return warmed(values, parameters.temperature) if parameters.temperature else values


_LOWEST = float(np.finfo(np.float32).min)
_SPOILT = {Fault.NULL_VALUES: None, Fault.NAN_VALUES: float("nan"), Fault.POSITIVE_VALUES: 0.5}


def _error(message: str, error_type: str, status: int) -> Reply:
    return Reply({"error": message, "error_type": error_type}, status)


def _invalid(message: str) -> Reply:
    return _error(f"Input validation error: {message}", "validation", 422)


def _read(shape: type[_Body], raw: bytes) -> _Body:
    """Parse the body as the router does: it ignores unknown fields and refuses wrong types."""
    try:
        return shape.model_validate(_known(shape, orjson.loads(raw)))
    except (ValidationError, ValueError) as error:
        message = f"Failed to deserialize the JSON body into the target type: {error}"
        raise Refusal(Reply(message, 422, media_type="text/plain")) from error


def _known(shape: type[BaseModel], body: Any) -> Any:
    if not isinstance(body, dict):
        return body
    kept = {name: value for name, value in body.items() if name in shape.model_fields}
    if isinstance(kept.get("parameters"), dict):
        parameters = _known(GenerateParameters, kept["parameters"])
        kept["parameters"] = {name: value for name, value in parameters.items() if (name, value) != ("top_n_tokens", 0)}
    return kept


def _texts_of(regex: str) -> list[str]:
    """The texts of a regular expression that is an alternation of literals, such as ( True| False)."""
    inner = regex[1:-1] if regex.startswith("(") and regex.endswith(")") else regex
    texts = [re.sub(r"\\(.)", r"\1", part) for part in re.split(r"(?<!\\)\|", inner.removeprefix("?:"))]
    if "|".join(map(re.escape, texts)) != inner.removeprefix("?:") and "|".join(texts) != inner.removeprefix("?:"):
        raise Refusal(_invalid("grammar is not valid: the fake knows alternations of literals alone"))
    return texts


def _begins(token: str, texts: list[str]) -> bool:
    return bool(token) and any(text.startswith(token) for text in texts)


def _generated(
    inputs: str, parameters: GenerateParameters, steps: list[tuple[int, Values]], model: ToyLanguageModel
) -> dict[str, Any]:
    written = model.tokenizer.decode(token for token, _ in steps)
    reply: dict[str, Any] = {"generated_text": inputs + written if parameters.return_full_text else written}
    if parameters.details or parameters.decoder_input_details:
        reply["details"] = {
            "finish_reason": "eos_token" if steps[-1][0] == END else "length",
            "generated_tokens": len(steps),
            "seed": None,
            "prefill": [],
            "tokens": [_token(model, token, float(values[token])) for token, values in steps],
        }
        if parameters.top_n_tokens:
            reply["details"]["top_tokens"] = [_top(model, values, parameters.top_n_tokens) for _, values in steps]
    return reply


def _top(model: ToyLanguageModel, values: Values, count: int) -> list[dict[str, Any]]:
    """The likeliest tokens, with those that equal the last of them, and without those of probability 0."""
    order = np.argsort(-values, kind="stable")
    last = values[order[min(count, len(order)) - 1]]
    kept = [int(token) for token in order[values[order] >= max(last, _LOWEST)]]
    return [_token(model, token, float(values[token])) for token in kept]


def _token(model: ToyLanguageModel, token: int, value: float) -> dict[str, Any]:
    return {
        "id": token,
        "text": model.tokenizer.text_of(token),
        "logprob": value if np.isfinite(value) else None,
        "special": token < len(SPECIALS),
    }


def _headers(prompt_tokens: int, generated: int) -> dict[str, str]:
    counts = {"x-prompt-tokens": prompt_tokens, "x-generated-tokens": generated}
    times = dict.fromkeys(("x-total-time", "x-validation-time", "x-queue-time", "x-inference-time"), 0)
    return {"x-compute-type": "1-toy", **{name: str(value) for name, value in (counts | times).items()}}
