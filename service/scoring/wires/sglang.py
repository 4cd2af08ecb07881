"""Speaks to SGLang (a wire): scores chosen tokens by `POST /generate`, and many queries in one call by `/v1/score`.

Source: SGLang 0.5.23 (`srt/managers/io_struct.py`, `srt/managers/tokenizer_manager.py`,
`srt/entrypoints/http_server.py`, `srt/entrypoints/openai/protocol.py`). `logprob_start_len` of -1 asks
for no log-probabilities of the prompt, since these would bypass the prefix cache.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any, ClassVar, Literal, Unpack

from cachetools import LRUCache

from service.errors import BackendRefused, BackendUnavailable
from service.records.scoring import ServerFacts
from service.scoring.calls.retry_rules import failed_answer
from service.scoring.wires.adapters import LoadableAdapter
from service.scoring.wires.http import Connection, JsonHttp
from service.scoring.wires.kind import GetDocument, Kind, Remedies
from service.scoring.wires.replies import (
    check_not_truncated,
    checked,
    computed_tokens,
    count,
    log_probability,
    positive_or_none,
    reading,
    text_or_none,
    token_ids,
)
from service.scoring.wires.settings import AdapterFolderAtServer, ServedModel, WireBackend
from service.scoring.wires.special_tokens import encode_in_parts, lookalikes, with_token_ids
from service.scoring.wires.token_offsets import SHORT_CHARACTERS
from service.scoring.wires.wire import NextToken, Prompt, Token

_LOAD = "/load_lora_adapter"
_REMEMBERED_TEXTS = 10_000
_TOO_LONG = ("longer than", "exceeds the")  # phrases in the messages of tokenizer_manager.py and managers/utils.py
_ADVICE = {
    "disable_radix_cache": "launch SGLang without --disable-radix-cache: every prompt is computed anew",
    "enable_mis": "launch SGLang without --enable-mis: it turns the prefix cache off",
    "allow_auto_truncate": "launch SGLang without --allow-auto-truncate: it cuts prompts that are too long",
}


async def _recognises(get: GetDocument) -> bool:
    return "model_path" in await get("/model_info") or "model_path" in await get("/get_model_info")  # in older releases


KIND = Kind(
    name="sglang",
    title="SGLang",
    remedies=Remedies(
        unreachable_label="use a release of SGLang whose /generate takes `token_ids_logprob` (0.5 does)",
        computed_tokens="use a release of SGLang whose /generate reports `cached_tokens` (0.5 does)",
        prefix_cache="launch the server without --disable-radix-cache and without --enable-mis",
        cache_block="launch the server with --page-size 1, where its attention backend takes it",
        differing_calls="launch the server with --enable-deterministic-inference",
        context="set --context-length, and use a release whose /server_info or /v1/models reports it",
    ),
    recognises=_recognises,
)


class SglangWire:
    """The wire to an SGLang server; `facts` checks `model` against the served names, but no call sends it."""

    kind = KIND
    takes_token_ids = True

    def __init__(self, url: str, *, model: str | None = None, **connection: Unpack[Connection]) -> None:
        self._http = JsonHttp(url, **connection)
        self._model = model
        self._adapter: LoadableAdapter | None = None
        self._scores_items = True
        self._is_atom = LRUCache[str, bool](_REMEMBERED_TEXTS)

    def adapted(self, adapter: LoadableAdapter) -> "SglangWire":
        """The wire to the same server with this adapter, over the same connections (see AdapterWire).

        It scores by `/generate` alone, since `/v1/score` takes no adapter.
        """
        wire = copy(self)
        wire._adapter, wire._scores_items = adapter, False  # noqa: SLF001 - a copy of this object
        return wire

    async def facts(self) -> ServerFacts:
        """Read `/model_info`, `/server_info`, `/v1/models`; loads a missing adapter. Raises BackendError."""
        model, server = await self._about("model_info"), await self._about("server_info")
        models = await self._http.get("/v1/models")
        with reading("/model_info"):
            facts = read_facts(model, server, models["data"], self._model)
            served = {each["id"] for each in models["data"]}
        if self._adapter is None or facts.problems:
            return facts
        self._adapter.check_names((facts.model, facts.revision, text_or_none(model.get("served_model_name"))))
        if self._adapter.name not in served:
            await self._load(self._adapter)
        return replace(facts, model=f"{facts.model} + {self._adapter.name}")

    async def encode(self, text: str, *, special: bool = False) -> list[Token]:
        """Encode by `/tokenize`; for a short text, with the tokens' offsets. Raises BackendError."""
        if atoms := await self._atoms(lookalikes(text)):
            return await encode_in_parts(text, atoms, self.encode, special=special)
        reply = await self._http.post("/tokenize", {"prompt": text, "add_special_tokens": special})
        with reading("/tokenize"):
            ids = token_ids(reply["tokens"])
        if not ids or len(text) > SHORT_CHARACTERS:
            return [Token(token) for token in ids]
        reply = await self._http.post("/detokenize", {"tokens": [ids[: end + 1] for end in range(len(ids))]})
        with reading("/detokenize"):
            return [Token(token, _end(text, part)) for token, part in zip(ids, reply["text"], strict=True)]

    async def next_token(self, prompt: Prompt, wanted: Sequence[int]) -> NextToken:
        """Make one call. Raises BackendError."""
        prompt = await with_token_ids(prompt, self.encode)
        given = {"text": prompt.text} if prompt.token_ids is None else {"input_ids": list(prompt.token_ids)}
        reply = await self._generate({**given, **_generating(wanted)})
        with reading("/generate"):
            return read_generated(reply, wanted, None if prompt.token_ids is None else len(prompt.token_ids))

    async def next_tokens(
        self, beginning: tuple[int, ...], items: Sequence[tuple[int, ...]], wanted: Sequence[int]
    ) -> list[NextToken]:
        """Score by `/v1/score`, which sends the beginning once, or by `/generate` with whole prompts (see ManyWire).

        `/v1/score` reports only the token count of all prompts together, which the first answer carries, and
        not the tokens found in the prefix cache. `/generate` reports both; the wire uses it for releases whose
        `/v1/score` gives no log-probabilities. Raises BackendError.
        """
        tries_items = self._scores_items and bool(wanted)
        if tries_items and (scored := await self._score(beginning, items, list(dict.fromkeys(wanted)))) is not None:
            return scored
        prompts = [[*beginning, *item] for item in items]
        reply = await self._generate({"input_ids": prompts, **_generating(wanted)})
        with reading("/generate"):
            answers = [read_generated(one, wanted, len(ids)) for ids, one in zip(prompts, reply, strict=True)]
        if tries_items:  # `/generate` works, so this release has no usable `/v1/score`
            self._scores_items = False
        return answers

    async def close(self) -> None:
        """Close every connection."""
        await self._http.close()

    async def _atoms(self, suspects: Sequence[str]) -> list[str]:
        """The texts that the tokenizer encodes as a single token; encodes each text once."""
        found = {suspect: self._is_atom.get(suspect) for suspect in suspects}
        if unknown := [suspect for suspect, is_atom in found.items() if is_atom is None]:
            reply = await self._http.post("/tokenize", {"prompt": unknown, "add_special_tokens": False})
            with reading("/tokenize"):
                for suspect, ids in zip(unknown, reply["tokens"], strict=True):
                    found[suspect] = len(token_ids(ids)) == 1
                    self._is_atom[suspect] = found[suspect] is True
        return [suspect for suspect, is_atom in found.items() if is_atom]

    async def _generate(self, body: Mapping[str, Any]) -> Any:
        """The answer to `/generate`; loads the adapter first if the server has lost it meanwhile."""
        if self._adapter is None:
            return await self._http.post("/generate", body)
        named = {**body, "lora_path": self._adapter.name}
        try:
            return await self._http.post("/generate", named)
        except BackendRefused as refusal:
            if "not loaded" not in str(refusal):
                raise
            await self._load(self._adapter)
        return await self._http.post("/generate", named)

    async def _load(self, adapter: LoadableAdapter) -> None:
        """Load the adapter; does nothing if it is there. Raises AdapterRefused, BackendUnavailable."""
        words = await self._http.order(_LOAD, {"lora_name": adapter.name, "lora_path": await adapter.path()})
        if words is None or "already" in words:
            return
        if words == "Not Found" or "not enabled" in words:
            raise adapter.refused("SGLang loads no adapters; launch it with --enable-lora")
        raise adapter.refused(f"SGLang says: {words}")

    async def _score(
        self, beginning: Sequence[int], items: Sequence[Sequence[int]], wanted: Sequence[int]
    ) -> list[NextToken] | None:
        """Score by `/v1/score`; None if it gives no log-probabilities."""
        body = {
            "query": list(beginning),
            "items": [list(item) for item in items],
            "label_token_ids": wanted,
            "return_token_logprobs": True,
        }
        try:
            reply = await self._http.post("/v1/score", body)
        except BackendRefused:  # a release without the route; if the prompts are at fault, `/generate` refuses, too
            return None
        with reading("/v1/score"):
            if reply.get("token_logprobs") is None:
                return None
            return read_scored(reply, wanted, len(items), sum(len(beginning) + len(item) for item in items))

    async def _about(self, path: str) -> Mapping[str, Any]:
        """The server's description at this path or at that of older releases; empty if it refuses both."""
        for each in (f"/{path}", f"/get_{path}"):
            try:
                found = await self._http.get(each)
            except BackendRefused:
                continue
            if isinstance(found, dict):
                return found
        return {}


class SglangBackend(WireBackend):
    """The settings of a backend of kind `sglang`."""

    of_kind: ClassVar[Kind] = KIND

    kind: Literal["sglang"] = "sglang"
    model: ServedModel = None
    adapter_folder: AdapterFolderAtServer = None

    def wire(self, url: str) -> SglangWire:
        """The wire to one of the backend's servers."""
        return SglangWire(url, model=self.model, **self.connection)


def _generating(wanted: Sequence[int]) -> dict[str, Any]:
    """Fields that request one token. SGLang treats temperature 0 as greedy and leaves log-probabilities unscaled."""
    return {
        "sampling_params": {"max_new_tokens": 1, "temperature": 0},
        "return_logprob": True,
        "logprob_start_len": -1,
        **({"token_ids_logprob": list(wanted)} if wanted else {}),
    }


def read_generated(reply: Any, wanted: Iterable[int], given: int | None) -> NextToken:
    """Read one prompt's reply to `/generate`; `given` is its number of tokens, if it was sent as ids.

    Raises what `reading` translates, and BackendError.
    """
    meta = reply["meta_info"]
    if meta["finish_reason"]["type"] not in ("length", "stop"):
        raise _aborted(meta["finish_reason"])
    sent = count(meta["prompt_tokens"])
    if given is not None:
        check_not_truncated(given, sent)
    return checked(NextToken(dict(_pairs(meta)), sent, computed_tokens(sent, meta.get("cached_tokens"))), wanted)


def read_scored(reply: Any, wanted: Sequence[int], items: int, given: int) -> list[NextToken]:
    """Read a reply to `/v1/score`; `given` is the number of tokens of all prompts. Raises as `read_generated` does."""
    sent = count(reply["usage"]["prompt_tokens"])
    check_not_truncated(given, sent)
    counts = [sent] + [0] * (items - 1)
    rows = [dict(zip(wanted, map(_value, row), strict=True)) for row in reply["token_logprobs"]]
    return [checked(NextToken(row, each), wanted) for row, each in zip(rows, counts, strict=True)]


def _pairs(meta: Mapping[str, Any]) -> Iterator[tuple[int, float]]:
    """The generated token, then the requested ones; the reply lists [log-probability, id, text] for each."""
    chosen = meta.get("output_token_ids_logprobs") or [[]]
    for value, token, *_ in [meta["output_token_logprobs"][0], *(chosen[0] or [])]:
        yield count(token), _value(value)


def _value(value: object) -> float:
    """A log-probability; SGLang writes minus infinity as null."""
    return -math.inf if value is None else log_probability(value)


def _aborted(reason: Mapping[str, Any]) -> BackendRefused | BackendUnavailable:
    """Classify an abort within an HTTP 200; in older releases, a prompt that is too long also ends in one.

    Newer releases add the status that the answer would have had (sgl-project/sglang issue 31802).
    """
    message = str(reason.get("message"))
    too_long = any(phrase in message for phrase in _TOO_LONG)
    status = 400 if too_long else positive_or_none(reason.get("status_code")) or 500
    return failed_answer(status, f"{reason['type']}: {message}", where="/generate")


def _end(text: str, part: str) -> int | None:
    """The number of characters in the decoded first tokens; an incomplete character decodes as U+FFFD."""
    whole = part.rstrip("\ufffd")
    return len(whole) if text.startswith(whole) else None


def read_facts(
    model: Mapping[str, Any], server: Mapping[str, Any], models: Iterable[Mapping[str, Any]], chosen: str | None
) -> ServerFacts:
    """The facts in the server's description of its model and launch options. Raises what `reading` translates."""
    served = {each["id"]: each for each in models}
    problems = []
    if chosen is not None and chosen not in served:
        problems.append(f"the server has no model {chosen!r}; set the backend's model to one of: {', '.join(served)}")
    if chosen is not None and served.get(chosen, {}).get("parent"):
        problems.append(f"{chosen!r} is a LoRA adapter, and calls would reach its base: merge the two and serve that")
    if model.get("is_generation") is False:
        problems.append("the server holds an embedding model: serve a causal language model without --is-embedding")
    limits = (next(iter(served.values()), {}).get("max_model_len"), server.get("max_req_input_len"))
    longest = [limit for limit in map(positive_or_none, limits) if limit is not None]
    return ServerFacts(
        model=text_or_none(model.get("model_path")) or next(iter(served), None),
        revision=_revision(server.get("revision"), model.get("weight_version")),
        server_version=text_or_none(server.get("version")),
        context_tokens=min(longest) - 1 if longest else None,
        max_concurrent_requests=positive_or_none(server.get("max_running_requests")),
        cache_block_tokens=positive_or_none(server.get("page_size")),
        problems=tuple(problems),
        advice=tuple(advice for option, advice in _ADVICE.items() if server.get(option) is True),
    )


def _revision(revision: object, weights: object) -> str | None:
    """The model's revision, followed by the version of its weights if these were replaced."""
    replaced = None if weights == "default" else text_or_none(weights)
    return " ".join(part for part in (text_or_none(revision), replaced) if part) or None
