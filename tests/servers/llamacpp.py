"""A fake llama.cpp server: `/completion` and what scoring needs beside it, from its documentation and source.

Each slot keeps the one prompt it read last; what a prompt shares with it is not computed again,
save the last token. Calls are deferred while no slot is free. Values are a softmax in single
precision over the whole vocabulary whatever the sampling, and a probability of 0 comes as the
lowest float.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from tests.servers.fake import FakeServer, Handler, Load, Refusal, Reply, Seen
from tests.servers.faults import Fault, Plan
from tests.servers.language_model import ToyLanguageModel, Values, top
from tests.servers.prefix_caches import SlotCache

LOWEST = float(np.finfo(np.float32).min)
_OPEN = frozenset({"/health", "/v1/health", "/models", "/v1/models"})


class FakeLlamaCpp(FakeServer):
    """llama.cpp's `llama-server`; `slot_context_tokens` is the context of one slot."""

    kind = "llamacpp"
    scoring_paths: ClassVar[frozenset[str]] = frozenset({"/completion", "/completions"})

    def __init__(
        self,
        model: ToyLanguageModel | None = None,
        *,
        plan: Plan | None = None,
        latency_seconds: float = 0.0,
        api_key: str | None = None,
        model_path: str = "/models/toy.gguf",
        alias: str = "toy",
        build: str = "b7321-0123abc",
        slots: int = 4,
        slot_context_tokens: int = 4096,
        probabilities_key: str = "completion_probabilities",
    ) -> None:
        super().__init__(model, plan=plan, latency_seconds=latency_seconds, load=Load(running=slots), api_key=api_key)
        self.model_path, self.alias, self.build = model_path, alias, build
        self.slot_context_tokens = slot_context_tokens
        self.probabilities_key = probabilities_key
        self.is_loading = False
        self._slots = SlotCache(slots)

    def routes(self) -> Mapping[tuple[str, str], Handler]:
        """The native routes, and the OpenAI-like list of models."""
        return {
            ("GET", "/health"): self._health,
            ("GET", "/props"): self._props,
            ("GET", "/slots"): self._list_slots,
            ("GET", "/v1/models"): self._models,
            ("GET", "/models"): self._models,
            ("POST", "/tokenize"): self._tokenize,
            ("POST", "/detokenize"): self._detokenize,
            ("POST", "/completion"): self._completion,
            ("POST", "/completions"): self._completion,
        }

    def unauthorized(self, seen: Seen) -> Reply | None:
        """Some paths need no key; while the model loads, all answers are errors."""
        if self.is_loading:
            return self.failure(Fault.UNAVAILABLE)
        return None if seen.path in _OPEN else super().unauthorized(seen)

    def not_found(self, seen: Seen) -> Reply:
        """The server's own envelope."""
        return _error("File Not Found", "not_found_error", 404)

    def failure(self, fault: Fault) -> Reply:
        """The envelope of all errors; calls wait, so a 503 means that the model is loading."""
        match fault:
            case Fault.FAILED:
                return _error("Compute error.", "server_error", 500)
            case Fault.UNAUTHORIZED:
                return _error("Invalid API Key", "authentication_error", 401)
            case Fault.REFUSED:
                return _error("Prompt contains invalid tokens", "invalid_request_error", 400)
            case Fault.OVERLOADED | Fault.OVERLOADED_SECONDS | Fault.OVERLOADED_DATE:  # of a gateway in front of it
                return _error("Too many requests", "rate_limit_error", 429)
            case _:
                return _error("Loading model", "unavailable_error", 503)

    def spoil(self, fault: Fault, seen: Seen, content: Any) -> Any:
        """A cut prompt has its flag; a cancelled call has no probabilities."""
        for answer in content if isinstance(content, list) else [content]:
            steps = answer.get(self.probabilities_key) or []
            match fault:
                case Fault.MISSING_LABEL:
                    for step in steps:
                        _hide(step, self.hidden_token)
                case Fault.NULL_VALUES | Fault.NAN_VALUES | Fault.POSITIVE_VALUES:
                    spoilt = {Fault.NULL_VALUES: None, Fault.NAN_VALUES: float("nan")}.get(fault, 0.5)
                    for entry in [entry for step in steps for entry in (step, *step["top_logprobs"])]:
                        entry["logprob"] = spoilt
                case Fault.TRUNCATED:
                    answer["truncated"] = True
                case Fault.ABORTED:
                    answer |= {"content": "", "stop_type": "none", "tokens_predicted": 0}
                    answer.pop(self.probabilities_key, None)
        return content

    def forget_prefixes(self) -> None:
        """Empty every slot."""
        self._slots.clear()

    async def _health(self, seen: Seen) -> Reply:
        return Reply({"status": "ok"})

    async def _props(self, seen: Seen) -> Reply:
        return Reply(
            {
                "default_generation_settings": {
                    "id": 0,
                    "id_task": -1,
                    "n_ctx": self.slot_context_tokens,
                    "speculative": False,
                    "is_processing": False,
                    "params": {"n_predict": -1, "temperature": 0.8, "n_probs": 0, "cache_prompt": True},
                },
                "total_slots": self._slots.slots,
                "model_alias": self.alias,
                "model_path": self.model_path,
                "chat_template": "",
                "modalities": {"vision": False},
                "build_info": self.build,
                "is_sleeping": False,
            }
        )

    async def _list_slots(self, seen: Seen) -> Reply:
        return Reply([{"id": number, "n_ctx": self.slot_context_tokens} for number in range(self._slots.slots)])

    async def _models(self, seen: Seen) -> Reply:
        meta = {"n_vocab": self.model.tokenizer.size, "n_ctx_train": self.slot_context_tokens, "n_params": 1, "size": 1}
        card = {"id": self.alias, "object": "model", "created": 0, "owned_by": "llamacpp", "meta": meta}
        return Reply({"object": "list", "data": [card]})

    async def _tokenize(self, seen: Seen) -> Reply:
        options = {"special": bool(seen.body.get("add_special")), "parses": bool(seen.body.get("parse_special", True))}
        pieces = self.model.tokenizer.encode(seen.body["content"], **options)
        if not seen.body.get("with_pieces"):
            return Reply({"tokens": [piece.id for piece in pieces]})
        return Reply({"tokens": [{"id": piece.id, "piece": self._piece(piece.id)} for piece in pieces]})

    async def _detokenize(self, seen: Seen) -> Reply:
        return Reply({"content": self.model.tokenizer.decode(seen.body["tokens"])})

    async def _completion(self, seen: Seen) -> Reply:
        body = seen.body
        prompt = body.get("prompt")
        if prompt is None:
            raise Refusal(_error('"prompt" is missing', "invalid_request_error", 400))
        is_list = isinstance(prompt, list) and bool(prompt) and not isinstance(prompt[0], int)
        prompts = [self._checked(one) for one in (prompt if is_list else [prompt])]
        answers = [await self._run(index, ids, body) for index, ids in enumerate(prompts)]
        return Reply(answers if is_list else answers[0])

    async def _run(self, index: int, ids: list[int], body: Mapping[str, Any]) -> dict[str, Any]:
        with self.load.counted():
            async with self.load.slots:
                reuse = body.get("cache_prompt", True)
                slot, cached = self._slots.take(ids, wanted=body.get("id_slot", -1), reuse=reuse)
                try:
                    await self.computing(len(ids) - cached)
                finally:
                    self._slots.give_back(slot)
        return self._answer(index, slot, ids, cached, body)

    def _answer(
        self, index: int, slot: int, ids: Sequence[int], cached: int, body: Mapping[str, Any]
    ) -> dict[str, Any]:
        values = _single(self.model.log_probabilities(ids))
        best = top(values, 10)
        temperature = body.get("temperature", 0.8)
        token = best[0 if temperature <= 0 else len(self.seen) % len(best)][0]
        predicted = 0 if body.get("n_predict") == 0 else 1
        answer: dict[str, Any] = {
            "index": index,
            "content": self._text(token) if predicted else "",
            "tokens": [token] if body.get("return_tokens") and predicted else [],
            "id_slot": slot,
            "stop": True,
            "model": self.alias,
            "tokens_predicted": predicted,
            "tokens_evaluated": len(ids),
            "generation_settings": {"n_predict": body.get("n_predict", -1), "n_probs": body.get("n_probs", 0)},
            "prompt": self.model.tokenizer.decode(ids),
            "has_new_line": False,
            "truncated": False,
            "stop_type": "limit",
            "stopping_word": "",
            "tokens_cached": len(ids) + predicted - 1,  # the slot's content now, not the tokens it found
            "timings": {
                "cache_n": cached,
                "prompt_n": len(ids) - cached,
                "prompt_ms": 1.0,
                "predicted_n": predicted,
                "predicted_ms": 0.1,
            },
        }
        if body.get("n_probs", 0) > 0 and predicted:
            answer[self.probabilities_key] = [self._probabilities(values, token, body)]
        return answer

    def _probabilities(self, values: Values, token: int, body: Mapping[str, Any]) -> dict[str, Any]:
        after = bool(body.get("post_sampling_probs"))
        likeliest = top(values, body["n_probs"])
        if after:  # those left by the default samplers, as probabilities
            likeliest = [(other, value) for other, value in likeliest if value > likeliest[0][1] + math.log(0.05)][:40]
        entries = [self._entry(other, value, as_probability=after) for other, value in likeliest]
        key = "top_probs" if after else "top_logprobs"
        return {**self._entry(token, float(values[token]), as_probability=after), key: entries}

    def _entry(self, token: int, value: float, *, as_probability: bool) -> dict[str, Any]:
        score = {"prob": math.exp(value)} if as_probability else {"logprob": value}
        return {"id": token, "token": self._text(token), "bytes": list(self.model.tokenizer.bytes_of(token)), **score}

    def _checked(self, prompt: str | Sequence[int | str]) -> list[int]:
        """The prompt's tokens; the beginning token precedes text alone. Raises Refusal."""
        tokenizer = self.model.tokenizer
        parts = [prompt] if isinstance(prompt, str) else prompt
        ids: list[int] = []
        for number, part in enumerate(parts):
            ids += tokenizer.ids(part, special=number == 0) if isinstance(part, str) else [part]
        if not all(0 <= token < tokenizer.size for token in ids):
            raise Refusal(_error("Prompt contains invalid tokens", "invalid_request_error", 400))
        if len(ids) >= self.slot_context_tokens:
            raise Refusal(_too_long(len(ids), self.slot_context_tokens))
        return ids

    def _text(self, token: int) -> str:
        """The token's text; empty if its bytes are no text by themselves."""
        return self.model.tokenizer.bytes_of(token).decode(errors="ignore")

    def _piece(self, token: int) -> str | list[int]:
        raw = self.model.tokenizer.bytes_of(token)
        return list(raw) if len(raw) == 1 and raw[0] > 127 else raw.decode() or self.model.tokenizer.text_of(token)


def _error(message: str, error_type: str, status: int) -> Reply:
    return Reply({"error": {"code": status, "message": message, "type": error_type}}, status)


def _too_long(tokens: int, most: int) -> Reply:
    message = f"request ({tokens} tokens) exceeds the available context size ({most} tokens), try increasing it"
    error = {
        "code": 400,
        "message": message,
        "type": "exceed_context_size_error",
        "n_prompt_tokens": tokens,
        "n_ctx": most,
    }
    return Reply({"error": error}, 400)


def _single(values: Values) -> Values:
    """The logarithm of a probability in single precision."""
    probabilities = np.exp(values).astype(np.float32)
    with np.errstate(divide="ignore"):
        logarithms = np.log(probabilities).astype(np.float64)
    single: Values = np.where(probabilities == 0, LOWEST, logarithms)
    return single


def _hide(step: dict[str, Any], token: int) -> None:
    """Remove a token from the alternatives, and generate another one instead."""
    step["top_logprobs"] = [entry for entry in step["top_logprobs"] if entry["id"] != token]
    if step["id"] == token and step["top_logprobs"]:
        step |= step["top_logprobs"][0]
