"""A fake vLLM server (0.33.0): `/v1/completions` and what scoring needs beside it, from its protocol and its checks.

Blocks of 16 tokens are cached as soon as a prompt is begun, the last token is always computed,
and a request for prompt log-probabilities reads no cache. Calls queue without limit unless a
limit is set. Unknown fields are accepted silently, so a release from before `logprob_token_ids`
answers such a request with the likeliest tokens, or with none.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from tests.servers.fake import FakeServer, Handler, Load, Refusal, Reply, Seen
from tests.servers.faults import Fault, Plan
from tests.servers.language_model import ToyLanguageModel, Values, top
from tests.servers.loras import Loras
from tests.servers.prefix_caches import PrefixCache

MAX_LOGPROB_TOKEN_IDS = 128
_IMPOSSIBLE = -9999.0  # what vLLM writes for minus infinity
_MAX_PROMPTS = 1024
_CHARACTERS_PER_TOKEN = 8  # more than any token of the toy vocabulary
_GUARDED = ("/v1", "/v2", "/inference")


@dataclass(frozen=True)
class _Sampled:
    """One generated token of a prompt, with the reported values in their order."""

    token: int
    values: Mapping[int, float]


class FakeVllm(FakeServer):
    """vLLM.

    `names_chosen_tokens`: a release with `logprob_token_ids`. `tells_cached_tokens`: launched with
    `--enable-prompt-tokens-details`. `runs_together`: of a release in which the keys of different
    tokens could be the same text. `loras`: launched with `--enable-lora`.
    """

    kind = "vllm"
    scoring_paths: ClassVar[frozenset[str]] = frozenset({"/v1/completions"})

    def __init__(
        self,
        model: ToyLanguageModel | None = None,
        *,
        plan: Plan | None = None,
        latency_seconds: float = 0.0,
        api_key: str | None = None,
        name: str = "toy",
        root: str = "toy/model",
        version: str = "0.33.0",
        max_model_len: int = 4096,
        max_logprobs: int = 20,
        max_num_seqs: int | None = None,
        max_num_queued_reqs: int | None = None,
        block_tokens: int = 16,
        names_chosen_tokens: bool = True,
        tells_cached_tokens: bool = True,
        runs_together: bool = False,
        loras: Loras | None = None,
    ) -> None:
        waiting = None if max_num_queued_reqs is None else max_num_queued_reqs - (max_num_seqs or max_num_queued_reqs)
        load = Load(running=max_num_seqs or max_num_queued_reqs, waiting=waiting)
        super().__init__(model, plan=plan, latency_seconds=latency_seconds, load=load, api_key=api_key)
        self.name, self.root, self.version = name, root, version
        self.max_model_len, self.max_logprobs = max_model_len, max_logprobs
        self.names_chosen_tokens = names_chosen_tokens
        self.tells_cached_tokens = tells_cached_tokens
        self.runs_together = runs_together
        self.loras = loras
        self._cache = PrefixCache(block_tokens)

    def routes(self) -> Mapping[tuple[str, str], Handler]:
        """The routes of a generative model in production, which has no `/reset_prefix_cache`, `/score` and `/info`."""
        return {
            ("GET", "/health"): self._empty,
            ("GET", "/ping"): self._empty,
            ("GET", "/version"): self._version,
            ("GET", "/v1/models"): self._models,
            ("POST", "/tokenize"): self._tokenize,
            ("POST", "/detokenize"): self._detokenize,
            ("POST", "/v1/completions"): self._completions,
            **({("POST", "/v1/load_lora_adapter"): self._load} if self.loras and self.loras.at_run_time else {}),
        }

    def unauthorized(self, seen: Seen) -> Reply | None:
        """Only some paths need the key."""
        return super().unauthorized(seen) if seen.path.startswith(_GUARDED) else None

    def not_found(self, seen: Seen) -> Reply:
        """FastAPI's own answer in the server's envelope."""
        return _error("Not Found", "Not Found", 404)

    def failure(self, fault: Fault) -> Reply:
        """The envelope of all errors; an overload is a 503, since there is no 429."""
        match fault:
            case Fault.FAILED:
                return _error("EngineCore encountered an issue. See stack trace.", "InternalServerError", 500)
            case Fault.UNAUTHORIZED:
                return Reply({"error": "Unauthorized"}, 401)
            case Fault.REFUSED:
                return _error("Requested sample logprobs of 21, which is greater than max allowed: 20", status=400)
            case Fault.OVERLOADED_SECONDS | Fault.OVERLOADED_DATE:  # of a gateway in front of the server
                return _error("Too many requests", "Too Many Requests", 429)
            case _:
                message = (
                    "The engine is currently busy and cannot accept new requests. "
                    "Please try again later or on a different instance."
                )
                return _error(message, "Service Unavailable", 503)

    def spoil(self, fault: Fault, seen: Seen, content: Any) -> Any:
        """An abort leaves a choice without tokens; a cut prompt shows only in the number of its tokens."""
        for choice in content["choices"]:
            logprobs = choice["logprobs"] or {"top_logprobs": []}
            match fault:
                case Fault.MISSING_LABEL:
                    self._hide(logprobs)
                case Fault.NULL_VALUES | Fault.NAN_VALUES | Fault.POSITIVE_VALUES:
                    spoilt = {Fault.NULL_VALUES: None, Fault.NAN_VALUES: float("nan")}.get(fault, 0.5)
                    logprobs["top_logprobs"] = [dict.fromkeys(row, spoilt) for row in logprobs["top_logprobs"]]
                    logprobs["token_logprobs"] = [spoilt for _ in logprobs["token_logprobs"]]
                case Fault.ABORTED:
                    choice |= {"finish_reason": "abort", "text": ""}
                    choice["logprobs"] = {"text_offset": [], "token_logprobs": [], "tokens": [], "top_logprobs": []}
                case Fault.TRUNCATED:
                    content["usage"]["prompt_tokens"] -= 1
                    content["usage"]["total_tokens"] -= 1
        return content

    def forget_prefixes(self) -> None:
        """Empty the block pool."""
        self._cache.clear()

    def _hide(self, logprobs: dict[str, Any]) -> None:
        """Remove the hidden token from the answer, and sample another one instead."""
        keys = {f"token_id:{self.hidden_token}", self.model.tokenizer.text_of(self.hidden_token)}
        logprobs["top_logprobs"] = [
            {key: value for key, value in row.items() if key not in keys} for row in logprobs["top_logprobs"]
        ]
        if logprobs.get("tokens") and logprobs["tokens"][0] in keys:
            logprobs |= {"tokens": ["token_id:0"], "token_logprobs": [_IMPOSSIBLE]}

    async def _empty(self, seen: Seen) -> Reply:
        return Reply(b"", media_type="text/plain")

    async def _version(self, seen: Seen) -> Reply:
        return Reply({"version": self.version})

    async def _models(self, seen: Seen) -> Reply:
        card = {
            "id": self.name,
            "object": "model",
            "created": int(time.time()),
            "owned_by": "vllm",
            "root": self.root,
            "parent": None,
            "max_model_len": self.max_model_len,
            "permission": [{"id": "modelperm-toy", "object": "model_permission", "allow_logprobs": True}],
        }
        loaded = self.loras.loaded.items() if self.loras else ()
        adapters = [
            {**card, "id": name, "root": path, "parent": self.name, "max_model_len": None} for name, path in loaded
        ]
        return Reply({"object": "list", "data": [card, *adapters]})

    async def _load(self, seen: Seen) -> Reply:
        """The messages of `OpenAIServingModels.load_lora_adapter` and of `LRUCacheWorkerLoRAManager`."""
        assert self.loras
        name, path = seen.body["lora_name"], seen.body["lora_path"]
        if name in self.loras.loaded:
            message = (
                f"The lora adapter '{name}' has already been loaded. If you want to load the adapter in place, set "
                "'load_inplace' to True."
            )
            raise Refusal(_error(message, "InvalidUserInput"))
        config = self.loras.config_at(path)
        if config is None:
            raise Refusal(_error(f"Loading lora {name} failed: No adapter found for {path}", "NotFoundError", 404))
        if config["r"] > self.loras.max_rank:  # type: ignore[operator]
            message = f"LoRA rank {config['r']} is greater than max_lora_rank {self.loras.max_rank}."
            raise Refusal(_error(message))
        self.loras.load(name, path)
        return Reply(f"Success: LoRA adapter '{name}' added successfully.", media_type="text/plain")

    async def _tokenize(self, seen: Seen) -> Reply:
        self._check_model(seen.body)
        pieces = self.model.tokenizer.encode(seen.body["prompt"], special=seen.body.get("add_special_tokens", True))
        return Reply(
            {
                "count": len(pieces),
                "max_model_len": self.max_model_len,
                "tokens": [piece.id for piece in pieces],
                "token_strs": [_raw(piece.text) for piece in pieces] if seen.body.get("return_token_strs") else None,
            }
        )

    async def _detokenize(self, seen: Seen) -> Reply:
        self._check_model(seen.body)
        return Reply({"prompt": self.model.tokenizer.decode(seen.body["tokens"])})

    async def _completions(self, seen: Seen) -> Reply:
        body = seen.body
        if not seen.headers.get("content-type", "").startswith("application/json"):
            raise Refusal(_error("Unsupported Media Type: Only 'application/json' is allowed", "Bad Request"))
        self._check_fields(body)
        self._check_model(body)
        prompts = [self._checked(prompt, body) for prompt in _prompts(body)]
        self._check_sampling(body)
        if self.load.is_full():
            raise Refusal(self.failure(Fault.OVERLOADED))
        with self.load.counted():
            async with self.load.slots:
                return await self._answer(body, prompts)

    async def _answer(self, body: Mapping[str, Any], prompts: Sequence[list[int]]) -> Reply:
        choices, cached = [], 0
        for index, ids in enumerate(prompts):
            salt = (body.get("cache_salt"), body.get("model"))
            reads_cache = body.get("prompt_logprobs") is None and not (body.get("echo") and "logprobs" in body)
            cached = self._cache.cached(ids, salt=salt) if reads_cache else 0
            self._cache.insert(ids, salt=salt)
            await self.computing(len(ids) - cached)
            choices.append(self._choice(index, body, self._sample(ids, body)))
        prompt_tokens = sum(map(len, prompts))
        usage: dict[str, Any] = {
            "prompt_tokens": prompt_tokens,
            "total_tokens": prompt_tokens + len(prompts),
            "completion_tokens": len(prompts),
            "prompt_tokens_details": None,
        }
        if self.tells_cached_tokens:  # of the last prompt alone
            usage["prompt_tokens_details"] = {"cached_tokens": cached, "created_cache_tokens": None}
        return Reply(
            {
                "id": f"cmpl-{len(self.seen)}",
                "object": "text_completion",
                "created": int(time.time()),
                "model": self.name,
                "choices": choices,
                "system_fingerprint": None,
                "usage": usage,
                "kv_transfer_params": None,
            }
        )

    def _sample(self, ids: Sequence[int], body: Mapping[str, Any]) -> _Sampled:
        """Sample a token; the reported values are raw: before temperature, bias and masks."""
        model = self.loras.adapted(self.model, body.get("model")) if self.loras else self.model
        values = model.log_probabilities(ids)
        token = _sampled(values, body, draw=len(self.seen))
        chosen = body.get("logprob_token_ids") if self.names_chosen_tokens else None
        others = chosen or [other for other, _ in top(values, body.get("logprobs") or 0)]
        order = dict.fromkeys([token, *others])
        return _Sampled(token, {number: max(float(values[number]), _IMPOSSIBLE) for number in order})

    def _choice(self, index: int, body: Mapping[str, Any], sampled: _Sampled) -> dict[str, Any]:
        logprobs = None
        if body.get("logprobs") is not None:
            limit = len(sampled.values) if body.get("logprob_token_ids") else body["logprobs"] + 1
            reported = list(sampled.values.items())[:limit]
            logprobs = {
                "text_offset": [0],
                "token_logprobs": [sampled.values[sampled.token]],
                "tokens": [self._key(sampled.token, body)],
                "top_logprobs": [{self._key(token, body): value for token, value in reported}],
            }
        return {
            "index": index,
            "text": self.model.tokenizer.decode([sampled.token]),
            "logprobs": logprobs,
            "finish_reason": "length",
            "stop_reason": None,
            "token_ids": [sampled.token] if body.get("return_token_ids") else None,
            "prompt_logprobs": None,
            "prompt_token_ids": None,
        }

    def _key(self, token: int, body: Mapping[str, Any]) -> str:
        if body.get("return_tokens_as_token_ids"):
            return f"token_id:{token}"
        text = self.model.tokenizer.text_of(token)
        return text.lstrip(" ") if self.runs_together else text

    def _check_fields(self, body: Mapping[str, Any]) -> None:
        chosen = self.names_chosen_tokens and body.get("logprob_token_ids")
        if chosen and body.get("logprobs") is None:
            message = "1 validation error:\n  when using `logprob_token_ids`, `logprobs` must be set."
            raise Refusal(_error(message, "Bad Request", param="logprob_token_ids"))
        if (body.get("logprobs") or 0) < -1:
            raise Refusal(_error("`logprobs` must be a positive value or -1.", "Bad Request", param="logprobs"))

    def _check_model(self, body: Mapping[str, Any]) -> None:
        if body.get("model") not in (None, "", self.name, *(self.loras.loaded if self.loras else ())):
            message = f"The model `{body['model']}` does not exist."
            raise Refusal(_error(message, "NotFoundError", 404, param="model"))

    def _checked(self, prompt: str | list[int], body: Mapping[str, Any]) -> list[int]:
        """The prompt's tokens. Raises Refusal if they are too many or not in the vocabulary."""
        tokenizer, most = self.model.tokenizer, self.max_model_len - (body.get("max_tokens") or 16)
        start = f"This model's maximum context length is {self.max_model_len} tokens. However, your prompt contains "
        if isinstance(prompt, str):
            if len(prompt) > most * _CHARACTERS_PER_TOKEN:
                message = f"{start}{len(prompt)} characters (more than {most * _CHARACTERS_PER_TOKEN} characters)."
                raise Refusal(_error(message, param="input_text"))
            ids = tokenizer.ids(prompt, special=body.get("add_special_tokens", True))
        else:
            ids = prompt
        if len(ids) > most:
            message = f"{start}{len(ids)} input tokens. Please reduce the length of the input prompt."
            raise Refusal(_error(message, param="input_tokens"))
        if not ids:
            raise Refusal(_error("The decoder prompt cannot be empty"))
        if max(ids) >= tokenizer.size:
            raise Refusal(_error(f"Token id {max(ids)} is out of vocabulary"))
        return ids

    def _check_sampling(self, body: Mapping[str, Any]) -> None:
        chosen = (body.get("logprob_token_ids") or []) if self.names_chosen_tokens else []
        count = 0 if chosen else body.get("logprobs") or 0
        most = self.model.tokenizer.size if self.max_logprobs == -1 else self.max_logprobs
        if count > most:
            message = f"Requested sample logprobs of {count}, which is greater than max allowed: {most}"
            raise Refusal(_error(message, param="logprobs"))
        if len(chosen) > MAX_LOGPROB_TOKEN_IDS:
            message = (
                f"Requested logprob_token_ids of length {len(chosen)}, "
                f"which is greater than max allowed: {MAX_LOGPROB_TOKEN_IDS}"
            )
            raise Refusal(_error(message, param="logprob_token_ids"))
        size = self.model.tokenizer.size
        for name in ("logprob_token_ids", "allowed_token_ids"):
            wrong = [token for token in body.get(name) or [] if not 0 <= token < size]
            if wrong and (self.names_chosen_tokens or name == "allowed_token_ids"):
                message = f"token_id(s) {wrong} in {name} contain out-of-vocab token ids. Vocabulary size: {size}"
                raise Refusal(_error(message, param=name))


def _error(message: str, error_type: str = "BadRequestError", status: int = 400, *, param: str | None = None) -> Reply:
    return Reply({"error": {"message": message, "type": error_type, "param": param, "code": status}}, status)


def _prompts(body: Mapping[str, Any]) -> list[str | list[int]]:
    """The prompts of a body: one text, one list of tokens, or a list of either."""
    prompt = body.get("prompt")
    if not prompt:
        raise Refusal(_error("Either prompt or prompt_embeds must be provided and non-empty."))
    if isinstance(prompt, str) or isinstance(prompt[0], int):
        return [prompt]
    if len(prompt) > _MAX_PROMPTS:
        raise Refusal(_error(f"Too many prompts: {len(prompt)} > {_MAX_PROMPTS}"))
    return list(prompt)


def _sampled(values: Values, body: Mapping[str, Any], *, draw: int) -> int:
    """The generated token: the likeliest allowed one, or at a temperature above 0 any of the best ten."""
    allowed = body.get("allowed_token_ids")
    kept = np.full_like(values, -np.inf)
    places = allowed or slice(None)
    kept[places] = values[places]
    best = top(kept, 10)
    temperature = body.get("temperature")
    return best[0 if temperature == 0 or allowed else draw % len(best)][0]


def _raw(text: str) -> str:
    return text.replace(" ", "Ġ").replace("\n", "Ċ")
