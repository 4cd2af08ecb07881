"""Parts of SGLang's JSON: errors, log-probabilities, requests of a batch, and the effects of faults."""

import math
from collections.abc import Mapping
from typing import Any

from tests.servers.fake import Refusal, Reply
from tests.servers.faults import Fault
from tests.servers.language_model import Values, top

SPOILT = {Fault.NULL_VALUES: None, Fault.NAN_VALUES: float("nan"), Fault.POSITIVE_VALUES: 0.5}


def spoilt_scores(fault: Fault, content: dict[str, Any]) -> dict[str, Any]:
    rows = content.get("token_logprobs")
    if rows and fault is Fault.MISSING_LABEL:
        content["token_logprobs"] = [row[:-1] for row in rows]
    elif rows and fault in SPOILT:
        content["token_logprobs"] = [[SPOILT[fault] for _ in row] for row in rows]
    elif fault is Fault.TRUNCATED:
        content["usage"]["prompt_tokens"] -= 1
    elif fault is Fault.ABORTED:
        content |= {"scores": [], "token_logprobs": []}
    return content


def nested(message: str, status: int = 400) -> Reply:
    return Reply({"error": {"message": message}}, status)


def flat(message: str, error_type: str = "BadRequestError", status: int = 400) -> Reply:
    return Reply({"object": "error", "message": message, "type": error_type, "param": None, "code": status}, status)


def listed(prompt: str | list[Any]) -> list[Any]:
    return prompt if isinstance(prompt, list) else [prompt]


def item(body: Mapping[str, Any], number: int, count: int) -> dict[str, Any]:
    """The fields of one request of a batch, taken from lists with one entry per request."""
    one = dict(body)
    for name in ("return_logprob", "logprob_start_len", "top_logprobs_num", "sampling_params", "extra_key"):
        if isinstance(body.get(name), list):
            one[name] = body[name][number]
    wanted = body.get("token_ids_logprob")
    if wanted and isinstance(wanted[0], list):
        if len(wanted) != count:
            raise Refusal(nested("The length of token_ids_logprob should be equal to the batch size."))
        one["token_ids_logprob"] = wanted[number]
    return one


def logprobs(values: Values, token: int, request: Mapping[str, Any]) -> dict[str, Any]:
    entries: dict[str, Any] = {
        "input_token_logprobs": [],
        "output_token_logprobs": [entry(values, token)],
        "output_token_logprobs_length": 1,
    }
    if request.get("top_logprobs_num"):
        best = [entry(values, other) for other, _ in top(values, request["top_logprobs_num"])]
        entries |= {"input_top_logprobs": [], "output_top_logprobs": [best]}
    if request.get("token_ids_logprob"):
        row = [entry(values, other) for other in request["token_ids_logprob"]]
        entries |= {"input_token_ids_logprobs": [], "output_token_ids_logprobs": [row]}
    return entries


def entry(values: Values, token: int) -> list[Any]:
    """[log-probability, token, text]; minus infinity is written as null."""
    value = float(values[token])
    return [value if math.isfinite(value) else None, token, None]


def hide(meta: dict[str, Any], token: int) -> None:
    """Remove a token from the answer, and generate another one instead."""
    rows = meta.get("output_token_ids_logprobs") or []
    meta["output_token_ids_logprobs"] = [[entry for entry in row if entry[1] != token] for row in rows]
    for entry in meta.get("output_token_logprobs", []):
        if entry[1] == token:
            entry[:2] = [-30.0, 0]
