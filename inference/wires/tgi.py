"""The JSON of text-generation-inference: its requests checked by its rules, its replies, its errors."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from inference.adapters.registry import Named
from inference.batching.generation import Generation, GenerationRequest, ScoredTokens
from inference.errors import InvalidRequest
from inference.model.language_model import LanguageModel
from inference.model.tokenization import PromptTokenizer
from inference.serving import VERSION
from inference.settings import Limits

_DEFAULT_NEW_TOKENS = 1024
_Unsigned = Annotated[int, Field(ge=0)]


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class GenerateParameters(_Body):
    """TGI's parameters, with those that would change scores, which the server refuses."""

    adapter_id: str | None = None
    best_of: _Unsigned | None = None
    decoder_input_details: bool = False
    details: bool = False
    do_sample: bool = False
    frequency_penalty: float | None = None
    grammar: dict[str, Any] | None = None
    max_new_tokens: _Unsigned | None = None
    repetition_penalty: float | None = None
    return_full_text: bool | None = None
    seed: int | None = None
    stop: list[str] = []
    temperature: float | None = None
    top_k: int | None = None
    top_n_tokens: _Unsigned | None = None
    top_p: float | None = None
    truncate: _Unsigned | None = None
    typical_p: float | None = None
    watermark: bool = False


class GenerateBody(_Body):
    """The body of `POST /generate`, and with `stream` of `POST /`."""

    inputs: str
    parameters: GenerateParameters = GenerateParameters()
    stream: bool = False


def check_parameters(parameters: GenerateParameters, inputs: str, limits: Limits, context_tokens: int) -> None:
    """Raise InvalidRequest in TGI's order and words, and for unsupported parameters."""
    _refuse_unsupported(parameters)
    if parameters.max_new_tokens == 0:
        raise InvalidRequest("`max_new_tokens` must be strictly positive")
    if len(parameters.stop) > limits.max_stop_sequences:
        raise InvalidRequest(
            f"`stop` supports up to {limits.max_stop_sequences} stop sequences. Given: {len(parameters.stop)}"
        )
    top_n = parameters.top_n_tokens or 0
    if top_n > limits.max_top_n_tokens:
        raise InvalidRequest(f"`top_n_tokens` must be >= 0 and <= {limits.max_top_n_tokens}. Given: {top_n}")
    if not inputs:
        raise InvalidRequest("`inputs` cannot be empty")
    truncate = parameters.truncate
    if truncate is not None and not 0 < truncate < context_tokens:
        raise InvalidRequest(
            f"`truncate` must be strictly positive and less than {context_tokens - 1}. Given: {truncate}"
        )


def _refuse_unsupported(parameters: GenerateParameters) -> None:
    warps = {
        "do_sample": parameters.do_sample,
        "temperature": parameters.temperature not in (None, 1.0),
        "top_k": parameters.top_k is not None,
        "top_p": parameters.top_p is not None,
        "typical_p": parameters.typical_p is not None,
        "repetition_penalty": parameters.repetition_penalty not in (None, 1.0),
        "frequency_penalty": parameters.frequency_penalty not in (None, 0.0),
        "best_of": (parameters.best_of or 1) > 1,
        "watermark": parameters.watermark,
        "grammar": parameters.grammar is not None,
    }
    for name, is_set in warps.items():
        if is_set:
            raise InvalidRequest(f"`{name}` is not supported by this server: it scores and continues greedily")


def generation_request(parameters: GenerateParameters, ids: list[int], context_tokens: int) -> GenerationRequest:
    """Build the engine's request. Raises InvalidRequest if the prompt does not fit; truncates only on request."""
    if parameters.truncate is not None:
        ids = ids[-parameters.truncate :]
    new = parameters.max_new_tokens
    if new is None:
        new = min(_DEFAULT_NEW_TOKENS, max(0, context_tokens - len(ids)))
    if len(ids) + new > context_tokens:
        raise InvalidRequest(
            f"`inputs` tokens + `max_new_tokens` must be <= {context_tokens}. "
            f"Given: {len(ids)} `inputs` tokens and {new} `max_new_tokens`"
        )
    if len(ids) > context_tokens - 1:
        raise InvalidRequest(f"`inputs` must have less than {context_tokens - 1} tokens. Given: {len(ids)}")
    return GenerationRequest(
        prompt=ids, max_new_tokens=new, top_n=parameters.top_n_tokens or 0, stop=tuple(parameters.stop)
    )


def generate_reply(body: GenerateBody, generation: Generation, tokenizer: PromptTokenizer) -> dict[str, Any]:
    """The reply to a generate request.

    Beside TGI's fields `details` has `prompt_tokens` and `computed_tokens`, those of them outside
    the prefix cache, since TGI's client returns no headers.
    """
    text = tokenizer.continuation(generation.request.prompt, generation.generated)
    reply: dict[str, Any] = {"generated_text": body.inputs + text if body.parameters.return_full_text else text}
    if body.parameters.details or body.parameters.decoder_input_details:
        reply["details"] = _details(generation, tokenizer)
    return reply


def _details(generation: Generation, tokenizer: PromptTokenizer) -> dict[str, Any]:
    request, ids = generation.request, generation.generated
    tokens = []
    for number, step in enumerate(generation.steps):
        before = [*request.prompt[-1:], *ids[:number]]
        text = tokenizer.continuation(before, [step.token], skip_special=False)
        tokens.append(_token(step.token, text, step.log_probability, special=tokenizer.is_special(step.token)))
    details: dict[str, Any] = {
        "finish_reason": generation.finish_reason,
        "generated_tokens": len(ids),
        "prefill": [],
        "tokens": tokens,
        "seed": None,
        "prompt_tokens": len(request.prompt),
        "computed_tokens": generation.computed_tokens,
    }
    if request.top_n:
        details["top_tokens"] = [_tokens(step.top, tokenizer) for step in generation.steps]
    return details


def _tokens(scored: ScoredTokens, tokenizer: PromptTokenizer) -> list[dict[str, Any]]:
    return [
        _token(token, tokenizer.text(token), log_probability, special=tokenizer.is_special(token))
        for token, log_probability in zip(scored.ids, scored.log_probabilities, strict=True)
    ]


def _token(token: int, text: str, log_probability: float, *, special: bool) -> dict[str, Any]:
    return {"id": token, "text": text, "logprob": log_probability, "special": special}


def info_reply(base: LanguageModel, adapters: Sequence[Named], limits: Limits) -> dict[str, Any]:
    """The reply to `GET /info`: TGI's keys, the cap that TGI does not report, and the adapters.

    An adapter's `sha` changes with its files and with `model_sha`, the base's.
    """
    return {
        "model_id": base.name,
        "model_sha": base.sha,
        "model_dtype": str(base.dtype),
        "model_device_type": base.device.type,
        "model_pipeline_tag": "text-generation",
        "max_concurrent_requests": limits.max_concurrent_requests,
        "max_best_of": 1,
        "max_stop_sequences": limits.max_stop_sequences,
        "max_input_tokens": base.context_tokens - 1,
        "max_total_tokens": base.context_tokens,
        "max_top_n_tokens": limits.max_top_n_tokens,
        "validation_workers": 1,
        "max_client_batch_size": 1,
        "router": "icm-inference",
        "version": VERSION,
        "sha": None,
        "docker_label": None,
        "adapters": [
            {"id": named.name, "sha": named.adapter.sha, "rank": named.adapter.rank, "parent": base.name}
            for named in adapters
        ],
    }


def tokenize_reply(inputs: str, tokenizer: PromptTokenizer) -> list[dict[str, Any]]:
    """The reply to `POST /tokenize` in TGI's form."""
    return [
        {"id": piece.id, "text": piece.text, "start": piece.start, "stop": piece.stop}
        for piece in tokenizer.pieces(inputs)
    ]


def error_reply(message: str, error_type: str) -> dict[str, str]:
    """An error in TGI's form; TGI's clients read the type."""
    return {"error": message, "error_type": error_type}
