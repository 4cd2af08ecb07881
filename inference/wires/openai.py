"""The part of vLLM's OpenAI-style JSON that scoring needs: requests, replies, errors."""

import uuid
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from inference.adapters.registry import Named
from inference.batching.generation import Generation, GenerationRequest, Step
from inference.errors import InvalidRequest
from inference.model.language_model import LanguageModel
from inference.model.tokenization import PromptTokenizer
from inference.settings import Limits

MAX_TOKEN_IDS = 128  # as vLLM's MAX_LOGPROB_TOKEN_IDS
MAX_PROMPTS = 1024  # as vLLM's VLLM_MAX_COMPLETION_PROMPTS
_LEAST_LOG_PROBABILITY = -9999.0  # JSON has no infinity; vLLM writes this
_Unsigned = Annotated[int, Field(ge=0)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)  # vLLM accepts unknown fields silently


class CompletionBody(_Body):
    """The body of `POST /v1/completions`, with fields that would change the scores, which the server refuses."""

    prompt: str | list[int] | list[str] | list[list[int]]
    model: str | None = None
    max_tokens: Annotated[int, Field(ge=1)] = 16
    temperature: float = 0.0
    logprobs: _Unsigned | None = None
    logprob_token_ids: list[_Unsigned] | None = None
    return_tokens_as_token_ids: bool = False
    add_special_tokens: bool = True
    stop: str | list[str] | None = None
    echo: bool = False
    stream: bool = False
    n: int = 1
    best_of: int | None = None
    suffix: str | None = None
    prompt_logprobs: int | None = None
    truncate_prompt_tokens: int | None = None
    allowed_token_ids: list[int] | None = None
    logit_bias: dict[str, float] | None = None

    def prompts(self) -> Sequence[str | list[int]]:
        """The prompts one by one."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        ids = [item for item in self.prompt if isinstance(item, int)]
        return [ids] if ids else [item for item in self.prompt if not isinstance(item, int)]


class TokenizeBody(_Body):
    """The body of `POST /tokenize` in vLLM's form."""

    prompt: str
    model: str | None = None
    add_special_tokens: bool = True
    return_token_strs: bool = False


def check_completion(body: CompletionBody, base: LanguageModel, limits: Limits) -> None:
    """Raise InvalidRequest for wrong or unsupported fields.

    As with vLLM, chosen tokens replace the likeliest ones, so that `logprobs` has no effect beside them.
    """
    _refuse_unsupported(body)
    if body.logprob_token_ids is None and (body.logprobs or 0) > limits.max_top_n_tokens:
        raise InvalidRequest(
            f"Requested sample logprobs of {body.logprobs}, which is greater than max allowed: "
            f"{limits.max_top_n_tokens}",
            "logprobs",
        )
    if body.logprob_token_ids is not None:
        _check_token_ids(body.logprob_token_ids, base, has_logprobs=body.logprobs is not None)
    prompts = body.prompts()
    if not 0 < len(prompts) <= MAX_PROMPTS:
        raise InvalidRequest(f"a request has 1 to {MAX_PROMPTS} prompts, this one {len(prompts)}", "prompt")


def _check_token_ids(ids: list[int], base: LanguageModel, *, has_logprobs: bool) -> None:
    name = "logprob_token_ids"
    if not has_logprobs:
        raise InvalidRequest("`logprobs` must be given with `logprob_token_ids`", name)
    if len(ids) > MAX_TOKEN_IDS:
        raise InvalidRequest(f"at most {MAX_TOKEN_IDS} `logprob_token_ids` are allowed, given: {len(ids)}", name)
    if ids and max(ids) >= base.vocabulary:
        raise InvalidRequest(f"token id {max(ids)} is not below the vocabulary size {base.vocabulary}", name)


def _refuse_unsupported(body: CompletionBody) -> None:
    unsupported = {
        "temperature": body.temperature != 0,
        "echo": body.echo,
        "stream": body.stream,
        "n": body.n != 1,
        "best_of": body.best_of not in (None, 1),
        "suffix": bool(body.suffix),
        "prompt_logprobs": body.prompt_logprobs is not None,
        "truncate_prompt_tokens": body.truncate_prompt_tokens is not None,
        "allowed_token_ids": body.allowed_token_ids is not None,
        "logit_bias": bool(body.logit_bias),
    }
    for name, is_set in unsupported.items():
        if is_set:
            raise InvalidRequest(f"`{name}` is not supported by this server: it scores and continues greedily", name)


def generation_request(body: CompletionBody, ids: list[int], base: LanguageModel) -> GenerationRequest:
    """Build the engine's request for one prompt. Raises InvalidRequest for an empty, invalid or long one."""
    if not ids:
        raise InvalidRequest("a prompt has no tokens", "prompt")
    if len(ids) + body.max_tokens > base.context_tokens:
        raise InvalidRequest(
            f"This model's maximum context length is {base.context_tokens} tokens. However, you requested "
            f"{body.max_tokens} output tokens and your prompt contains {len(ids)} input tokens, "
            f"for a total of {len(ids) + body.max_tokens} tokens.",
            "input_tokens",
        )
    if not 0 <= min(ids) <= max(ids) < base.vocabulary:
        raise InvalidRequest(f"Token id {max(ids)} is out of vocabulary", "prompt")
    return GenerationRequest(
        prompt=ids,
        max_new_tokens=body.max_tokens,
        top_n=0 if body.logprob_token_ids is not None else body.logprobs or 0,
        token_ids=tuple(dict.fromkeys(body.logprob_token_ids or ())),
        stop=_stops(body),
    )


def _stops(body: CompletionBody) -> tuple[str, ...]:
    return (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())


def completion_reply(
    body: CompletionBody,
    generations: Sequence[Generation],
    tokenizer: PromptTokenizer,
    base: LanguageModel,
    created: int,
) -> dict[str, Any]:
    """The reply to a completion request; `created` is in Unix seconds. Usage counts all prompts together."""
    sent = sum(len(generation.request.prompt) for generation in generations)
    computed = sum(generation.computed_tokens for generation in generations)
    generated = sum(len(generation.steps) for generation in generations)
    return {
        "id": f"cmpl-{uuid.uuid4().hex}",
        "object": "text_completion",
        "created": created,
        "model": body.model or base.name,
        "choices": [_choice(number, body, generation, tokenizer) for number, generation in enumerate(generations)],
        "usage": {
            "prompt_tokens": sent,
            "completion_tokens": generated,
            "total_tokens": sent + generated,
            "prompt_tokens_details": {"cached_tokens": sent - computed},
        },
    }


def _choice(number: int, body: CompletionBody, generation: Generation, tokenizer: PromptTokenizer) -> dict[str, Any]:
    text = tokenizer.continuation(generation.request.prompt, generation.generated)
    if generation.finish_reason == "stop_sequence":
        text = text[: min(text.find(stop) for stop in generation.request.stop if stop in text)]
    return {
        "index": number,
        "text": text,
        "logprobs": None if body.logprobs is None else _log_probabilities(body, generation, tokenizer),
        "finish_reason": "length" if generation.finish_reason == "length" else "stop",
        "stop_reason": None,
    }


def _log_probabilities(
    body: CompletionBody, generation: Generation, tokenizer: PromptTokenizer
) -> dict[str, list[Any]]:
    """Key by token as requested: only ids distinguish two tokens of the same text."""

    def key(token: int) -> str:
        return f"token_id:{token}" if body.return_tokens_as_token_ids else tokenizer.text(token)

    keys = [key(step.token) for step in generation.steps]
    return {
        "text_offset": _offsets(generation, tokenizer),
        "tokens": keys,
        "token_logprobs": [_finite(step.log_probability) for step in generation.steps],
        "top_logprobs": [{key(token): _finite(value) for token, value in _reported(step)} for step in generation.steps],
    }


def _reported(step: Step) -> list[tuple[int, float]]:
    """The generated token first, then the requested ones."""
    top = zip(step.top.ids, step.top.log_probabilities, strict=True)
    named = zip(step.named.ids, step.named.log_probabilities, strict=True)
    return [(step.token, step.log_probability), *top, *named]


def _offsets(generation: Generation, tokenizer: PromptTokenizer) -> list[int]:
    """The position of each generated token in the text, in characters."""
    ids = generation.generated
    return [
        len(tokenizer.continuation(generation.request.prompt, ids[:number], skip_special=False))
        for number in range(len(ids))
    ]


def _finite(log_probability: float) -> float:
    return max(log_probability, _LEAST_LOG_PROBABILITY)


def models_reply(base: LanguageModel, adapters: Sequence[Named], created: int) -> dict[str, Any]:
    """The reply to `GET /v1/models`: the base, then its adapters, each with its folder as `root`."""
    shown = [(base.name, base.name, None), *((named.name, named.path, base.name) for named in adapters)]
    return {
        "object": "list",
        "data": [
            {
                "id": name,
                "object": "model",
                "created": created,
                "owned_by": "icm-inference",
                "root": root,
                "parent": parent,
                "max_model_len": base.context_tokens,
            }
            for name, root, parent in shown
        ],
    }


def tokenize_reply(
    body: TokenizeBody, ids: list[int], tokenizer: PromptTokenizer, base: LanguageModel
) -> dict[str, Any]:
    """The reply to `POST /tokenize` in vLLM's form."""
    return {
        "count": len(ids),
        "max_model_len": base.context_tokens,
        "tokens": ids,
        "token_strs": [tokenizer.text(token) for token in ids] if body.return_token_strs else None,
    }


def error_reply(message: str, kind: str, code: int, parameter: str | None = None) -> dict[str, Any]:
    """An error in vLLM's form."""
    return {"error": {"message": message, "type": kind, "param": parameter, "code": code}}
