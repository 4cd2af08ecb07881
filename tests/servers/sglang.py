"""A fake SGLang server (0.5.23): `/generate`, `/v1/score` and what scoring needs beside them, from its source.

Its radix cache keeps single tokens; the last token of a prompt is always computed, and
`logprob_start_len` caps what is read from the cache. Calls queue, and are refused with 503 where
`max_queued_requests` are waiting. An abort comes with status 200 and a reason inside, unless it
carries a status of its own.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tests.servers.fake import FakeServer, Handler, Load, Refusal, Reply, Seen
from tests.servers.faults import Fault, Plan
from tests.servers.language_model import SPECIALS, ToyLanguageModel, top, warmed
from tests.servers.loras import Loras
from tests.servers.prefix_caches import PrefixCache
from tests.servers.sglang_json import SPOILT, flat, hide, item, listed, logprobs, nested, spoilt_scores


class FakeSglang(FakeServer):
    """SGLang.

    `cuts_prompts`: launched with `--allow-auto-truncate`. `scores_with_logprobs`: a release whose
    `/v1/score` can give log-probabilities beside probabilities. `loras`: launched with `--enable-lora`.
    """

    kind = "sglang"
    scoring_paths: ClassVar[frozenset[str]] = frozenset({"/generate", "/v1/score"})

    def __init__(
        self,
        model: ToyLanguageModel | None = None,
        *,
        plan: Plan | None = None,
        latency_seconds: float = 0.0,
        api_key: str | None = None,
        model_path: str = "toy/model",
        name: str = "toy",
        version: str = "0.5.23",
        context_len: int = 4096,
        page_size: int = 1,
        max_running_requests: int | None = None,
        max_queued_requests: int | None = None,
        cuts_prompts: bool = False,
        scores_with_logprobs: bool = True,
        radix_cache: bool = True,
        loras: Loras | None = None,
    ) -> None:
        load = Load(running=max_running_requests, waiting=max_queued_requests)
        super().__init__(model, plan=plan, latency_seconds=latency_seconds, load=load, api_key=api_key)
        self.model_path, self.name, self.version = model_path, name, version
        self.weight_version = "default"
        self.context_len, self.cuts_prompts = context_len, cuts_prompts
        self.scores_with_logprobs, self.radix_cache = scores_with_logprobs, radix_cache
        self.loras = loras
        self._cache = PrefixCache(page_size)

    def routes(self) -> Mapping[tuple[str, str], Handler]:
        """The native routes, and the OpenAI-like ones that scoring can use."""
        return {
            ("GET", "/health"): self._empty,
            ("GET", "/ready"): self._empty,
            ("GET", "/model_info"): self._model_info,
            ("GET", "/get_model_info"): self._model_info,
            ("GET", "/server_info"): self._server_info,
            ("GET", "/get_server_info"): self._server_info,
            ("GET", "/v1/models"): self._models,
            ("POST", "/tokenize"): self._tokenize,
            ("POST", "/v1/tokenize"): self._tokenize,
            ("POST", "/detokenize"): self._detokenize,
            ("POST", "/v1/detokenize"): self._detokenize,
            ("POST", "/flush_cache"): self._flush_cache,
            ("POST", "/generate"): self._generate,
            ("POST", "/v1/score"): self._score,
            ("POST", "/load_lora_adapter"): self._load,
        }

    def unauthorized(self, seen: Seen) -> Reply | None:
        """Health needs no key."""
        return None if seen.path.startswith("/health") else super().unauthorized(seen)

    def not_found(self, seen: Seen) -> Reply:
        """FastAPI's own answer."""
        return flat("Not Found", "404", 404)

    def failure(self, fault: Fault) -> Reply:
        """Errors of the native route are nested, all others flat."""
        match fault:
            case Fault.FAILED:
                return flat("Internal server error", "500", 500)
            case Fault.UNAUTHORIZED:
                return Reply({"error": "Unauthorized"}, 401)
            case Fault.REFUSED:
                return nested("token_ids_logprob must be a flat list of integers.")
            case Fault.OVERLOADED_SECONDS | Fault.OVERLOADED_DATE:  # of a gateway in front of the server
                return flat("Too many requests", "429", 429)
            case _:
                return flat("The request queue is full.", "503", 503)

    def spoil(self, fault: Fault, seen: Seen, content: Any) -> Any:
        """An abort without its own status shows only in the reason."""
        if "scores" in content:
            return spoilt_scores(fault, content)
        for answer in content if isinstance(content, list) else [content]:
            meta = answer["meta_info"]
            rows = meta.get("output_token_ids_logprobs") or []
            match fault:
                case Fault.MISSING_LABEL:
                    hide(meta, self.hidden_token)
                case Fault.NULL_VALUES | Fault.NAN_VALUES | Fault.POSITIVE_VALUES:
                    for entry in (entry for row in [*rows, meta.get("output_token_logprobs", [])] for entry in row):
                        entry[0] = SPOILT[fault]
                case Fault.ABORTED:
                    reason = {
                        "type": "abort",
                        "message": "Abort in waiting queue",
                        "status_code": None,
                        "err_type": None,
                    }
                    meta |= {"finish_reason": reason, "completion_tokens": 0, "output_token_logprobs": []}
                    meta["output_token_ids_logprobs"] = []
                    answer |= {"text": "", "output_ids": []}
                case Fault.TRUNCATED:
                    meta["prompt_tokens"] -= 1
        return content

    def forget_prefixes(self) -> None:
        """Flush the radix cache."""
        self._cache.clear()

    async def _empty(self, seen: Seen) -> Reply:
        return Reply(b"", media_type="text/plain")

    async def _flush_cache(self, seen: Seen) -> Reply:
        self._cache.clear()
        return Reply("Cache flushed.\n", media_type="text/plain")

    async def _model_info(self, seen: Seen) -> Reply:
        return Reply(
            {
                "model_path": self.model_path,
                "served_model_name": self.name,
                "tokenizer_path": self.model_path,
                "is_generation": True,
                "preferred_sampling_params": None,
                "weight_version": self.weight_version,
                "load_format": "auto",
                "model_type": "llama",
                "architectures": ["LlamaForCausalLM"],
            }
        )

    async def _server_info(self, seen: Seen) -> Reply:
        return Reply(
            {
                "model_path": self.model_path,
                "served_model_name": self.name,
                "context_length": None,
                "page_size": self._cache.block_tokens,
                "disable_radix_cache": not self.radix_cache,
                "schedule_policy": "fcfs",
                "max_running_requests": self.load.running,
                "max_queued_requests": self.load.waiting,
                "allow_auto_truncate": self.cuts_prompts,
                "enable_mis": False,
                "launch_command": "python -m sglang.launch_server --model-path toy/model",
                "max_total_num_tokens": 100_000,
                "max_req_input_len": self.context_len - 6,
                "internal_states": [{}],
                "version": self.version,
                "frontend": "python",
            }
        )

    async def _models(self, seen: Seen) -> Reply:
        card = {
            "id": self.name,
            "object": "model",
            "created": 0,
            "owned_by": "sglang",
            "root": self.name,
            "parent": None,
            "max_model_len": self.context_len,
        }
        loaded = self.loras.loaded.items() if self.loras else ()
        adapters = [
            {**card, "id": name, "root": path, "parent": self.name, "max_model_len": None} for name, path in loaded
        ]
        return Reply({"object": "list", "data": [card, *adapters]})

    async def _load(self, seen: Seen) -> Reply:
        """The messages of `TokenizerManager.load_lora_adapter`, `LoRARegistry` and `LoRAManager`."""
        name, path = seen.body["lora_name"], seen.body["lora_path"]
        fault = self._why_not_loaded(name, path)
        if fault is None and self.loras:
            self.loras.load(name, path)
        loaded = self.loras.loaded if self.loras else {}
        status = 200 if fault is None else 400
        return Reply({"success": fault is None, "error_message": fault or "", "loaded_adapters": dict(loaded)}, status)

    def _why_not_loaded(self, name: str, path: str) -> str | None:
        if not self.loras or not self.loras.at_run_time:
            return "LoRA is not enabled. Please set `--enable-lora` to enable LoRA."
        if name in self.loras.loaded:
            return f"LoRA with name {name} already exists. Loaded LoRAs: {list(self.loras.loaded)}"
        config = self.loras.config_at(path)
        if config is None:
            return (
                f"Failed to load LoRA adapter {name}: {path} does not appear to have a file named adapter_config.json"
            )
        if config["r"] > self.loras.max_rank:  # type: ignore[operator]
            return (
                f"LoRA adapter {name} with rank {config['r']} is incompatible with the current LoRA memory pool "
                "configuration. Please ensure that the LoRA adapter's rank is within the configured `--max-lora-rank`."
            )
        return None

    async def _tokenize(self, seen: Seen) -> Reply:
        prompt, special = seen.body["prompt"], seen.body.get("add_special_tokens", True)
        found = [self.model.tokenizer.ids(text, special=special) for text in listed(prompt)]
        counts = [len(ids) for ids in found]
        is_list = isinstance(prompt, list)
        return Reply(
            {
                "tokens": found if is_list else found[0],
                "count": counts if is_list else counts[0],
                "max_model_len": self.context_len,
            }
        )

    async def _detokenize(self, seen: Seen) -> Reply:
        tokens, skips = seen.body["tokens"], seen.body.get("skip_special_tokens", True)
        is_list = bool(tokens) and isinstance(tokens[0], list)
        texts = [self._decoded(ids, skips=skips) for ids in (tokens if is_list else [tokens])]
        return Reply({"text": texts if is_list else texts[0]})

    def _decoded(self, ids: Sequence[int], *, skips: bool) -> str:
        tokenizer = self.model.tokenizer
        if skips:
            return tokenizer.decode(ids)
        return "".join(SPECIALS[token] if token < len(SPECIALS) else tokenizer.decode([token]) for token in ids)

    async def _generate(self, seen: Seen) -> Reply:
        body = seen.body
        text, ids = body.get("text"), body.get("input_ids")
        if (text is None) == (ids is None):
            raise Refusal(nested("Either text, input_ids or input_embeds should be provided."))
        self._check_adapter(body.get("lora_path"))
        prompts = listed(text) if text is not None else (ids if ids and isinstance(ids[0], list) else [ids])
        is_list = isinstance(text, list) or bool(ids and isinstance(ids[0], list))
        requests = [item(body, number, len(prompts)) if is_list else body for number in range(len(prompts))]
        checked = [self._checked(prompt, request) for prompt, request in zip(prompts, requests, strict=True)]
        answers = [await self._run(ids, request) for ids, request in zip(checked, requests, strict=True)]
        return Reply(answers if is_list else answers[0])

    def _check_adapter(self, name: str | None) -> None:
        loaded = list(self.loras.loaded) if self.loras else []
        if name is not None and name not in loaded:
            message = f"The following requested LoRA adapters are not loaded: {name}\nLoaded adapters: {loaded}."
            raise Refusal(nested(message))

    async def _run(self, ids: list[int], request: Mapping[str, Any]) -> dict[str, Any]:
        """Run one request of the engine: wait for a slot, read the cache, generate at most one token."""
        if self.load.is_full():
            raise Refusal(self.failure(Fault.OVERLOADED))
        with self.load.counted():
            async with self.load.slots:
                cached = self._cached(ids, request)
                await self.computing(len(ids) - cached)
                if self.radix_cache:
                    self._cache.insert(ids, salt=_cache_key(request))
        return self._answer(ids, cached, request)

    def _cached(self, ids: Sequence[int], request: Mapping[str, Any]) -> int:
        cached = self._cache.cached(ids, salt=_cache_key(request))
        start = request.get("logprob_start_len")
        if request.get("return_logprob") and start is not None and start >= 0:
            cached = min(cached, start)
        return cached

    def _answer(self, ids: Sequence[int], cached: int, request: Mapping[str, Any]) -> dict[str, Any]:
        sampling = request.get("sampling_params") or {}
        temperature = sampling.get("temperature", 1.0)
        model = self.loras.adapted(self.model, request.get("lora_path")) if self.loras else self.model
        values = model.log_probabilities(ids)
        reported = values if temperature in (0, 0.0) else warmed(values, temperature)
        count = min(1, sampling.get("max_new_tokens", 128))
        best = top(reported, 10)
        token = best[0 if temperature in (0, 0.0) else len(self.seen) % len(best)][0]
        meta: dict[str, Any] = {
            "id": f"rid-{len(self.seen)}",
            "finish_reason": {"type": "length", "length": count},
            "prompt_tokens": len(ids),
            "weight_version": self.weight_version,
            "num_retractions": 0,
            "reasoning_tokens": 0,
            "completion_tokens": count,
            "cached_tokens": cached,
            "e2e_latency": 0.001,
        }
        if request.get("return_logprob"):
            meta |= logprobs(reported, token, request)
        text = self.model.tokenizer.decode([token]) if count else ""
        return {"text": text, "output_ids": [token] if count else [], "meta_info": meta}

    def _checked(self, prompt: str | list[int], request: Mapping[str, Any]) -> list[int]:
        """The prompt's tokens. Raises Refusal if they are too many or not in the vocabulary."""
        size = self.model.tokenizer.size
        ids = self.model.tokenizer.ids(prompt, special=True) if isinstance(prompt, str) else list(prompt)
        if not ids:
            raise Refusal(nested("input_ids cannot be empty."))
        if not all(0 <= token < size for token in ids):
            raise Refusal(nested(f"The input_ids contain values greater than the vocab size ({size})."))
        if len(ids) >= self.context_len:
            if not self.cuts_prompts:
                raise Refusal(
                    nested(
                        f"The input ({len(ids)} tokens) is longer than the "
                        f"model's context length ({self.context_len} tokens)."
                    )
                )
            del ids[self.context_len :]
        for token in request.get("token_ids_logprob") or []:
            if not isinstance(token, int):
                raise Refusal(nested("token_ids_logprob must be a flat list of integers."))
            if not 0 <= token < size:
                raise Refusal(
                    nested(
                        f"token_ids_logprob contains out-of-vocabulary token id {token}; valid range is [0, {size})."
                    )
                )
        return ids

    async def _score(self, seen: Seen) -> Reply:
        """`/v1/score`: every item after the query; reports no cached tokens."""
        body = seen.body
        prompts = self._composed(body)
        labels = self._score_labels(body, len(prompts))
        requests = [
            {
                "return_logprob": True,
                "token_ids_logprob": wanted,
                "sampling_params": {"max_new_tokens": 0, "temperature": 0},
            }
            for wanted in labels
        ]
        try:
            checked = [self._checked(prompt, request) for prompt, request in zip(prompts, requests, strict=True)]
        except Refusal as refusal:
            raise Refusal(flat(refusal.reply.content["error"]["message"])) from refusal
        answers = [await self._run(ids, request) for ids, request in zip(checked, requests, strict=True)]
        rows = [[value for value, _, _ in answer["meta_info"]["output_token_ids_logprobs"][0]] for answer in answers]
        tokens = sum(map(len, checked))
        with_logprobs = self.scores_with_logprobs and body.get("return_token_logprobs")
        scores = [[0.0 if value is None else math.exp(value) for value in row] for row in rows]
        if body.get("apply_softmax"):
            scores = [[value / sum(row) for value in row] for row in scores]
        return Reply(
            {
                "scores": scores,
                "pooled_hidden_states": None,
                **({"token_logprobs": rows if with_logprobs else None} if self.scores_with_logprobs else {}),
                "model": body.get("model", "default"),
                "usage": {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0},
                "object": "scoring",
            }
        )

    def _composed(self, body: Mapping[str, Any]) -> list[str | list[int]]:
        query, items = body.get("query"), body.get("items")
        if not items:
            raise Refusal(flat("items must be provided and non-empty"))
        if query is None:
            query = [] if isinstance(items[0], list) else ""
        if isinstance(query, str) and all(isinstance(item, str) for item in listed(items)):
            return [item + query if body.get("item_first") else query + item for item in listed(items)]
        if isinstance(query, list) and all(isinstance(item, list) for item in items):
            return [item + query if body.get("item_first") else query + item for item in items]
        raise Refusal(flat("Invalid combination of query/items types for score_request."))

    def _score_labels(self, body: Mapping[str, Any], count: int) -> list[list[int]]:
        given = body.get("label_token_ids")
        if not given:
            raise Refusal(flat("label_token_ids must be a nonempty list"))
        labels = list(given) if isinstance(given[0], list) else [given] * count
        if len(labels) != count:
            raise Refusal(flat("label_token_ids must have one list per item"))
        size = self.model.tokenizer.size
        for wanted in labels:
            if len(set(wanted)) != len(wanted):
                raise Refusal(flat("label_token_ids must not contain duplicate tokens"))
            for token in wanted:
                if token >= size:
                    raise Refusal(flat(f"Token ID {token} is out of vocabulary (vocab size: {size})"))
        return labels


def _cache_key(request: Mapping[str, Any]) -> tuple[Any, Any]:
    return request.get("extra_key"), request.get("lora_path")
