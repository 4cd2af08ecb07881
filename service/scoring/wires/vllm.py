"""Speaks to vLLM (a wire): scores chosen tokens by `POST /v1/completions`, with prompts as token ids.

Source: vLLM 0.32 (`entrypoints/openai/completion`, `entrypoints/serve/tokenize`). Servers older than
`logprob_token_ids` (pull request 43463 of vllm-project/vllm) ignore that field and answer with their likeliest tokens.
For each wanted token that is not among these, the wire makes one call that allows only this token.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any, ClassVar, Literal, Unpack

from service.errors import BackendRefused, BackendUnavailable
from service.records.scoring import ServerFacts
from service.scoring.wires.adapters import LoadableAdapter
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
from service.scoring.wires.settings import AdapterFolderAtServer, ServedModel, WireBackend
from service.scoring.wires.special_tokens import encode_in_parts, lookalikes, with_token_ids
from service.scoring.wires.token_offsets import SHORT_CHARACTERS, byte_level, sentence_piece, with_offsets
from service.scoring.wires.wire import NextToken, Prompt, Token

_MAX_TOKEN_IDS = 128  # MAX_LOGPROB_TOKEN_IDS in vllm/sampling_params.py
_MAX_LOGPROBS = 20  # vLLM's default of --max-logprobs
_MAX_ALLOWED = re.compile(r"max(?:imum)? allowed: (\d+)")
_ID_KEY = "token_id:"
_LOAD = "/v1/load_lora_adapter"
_MAX_RANK = re.compile(r"max_lora_rank (\d+)")
_TO_LOAD = "launch vLLM with --enable-lora, and with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True in its environment"


async def _recognises(get: GetDocument) -> bool:
    models = (await get("/v1/models")).get("data") if "version" in await get("/version") else None
    return isinstance(models, list) and any(
        isinstance(model, Mapping) and model.get("owned_by") == "vllm" for model in models
    )


KIND = Kind(
    name="vllm",
    title="vLLM",
    remedies=Remedies(
        unreachable_label="use a release of vLLM that takes `logprob_token_ids` with /v1/completions (0.32 does), "
        "or launch the server with --max-logprobs 200",
        computed_tokens="launch the server with --enable-prompt-tokens-details",
        prefix_cache="launch the server with --enable-prefix-caching",
        cache_block="launch the server with a smaller --block-size, where the platform has one",
        differing_calls="set VLLM_BATCH_INVARIANT=1 where the server runs (GPUs of compute capability 8.0 or more)",
        context="set --max-model-len, and use a release whose /v1/models reports `max_model_len`",
    ),
    recognises=_recognises,
)


class VllmWire:
    """The wire to a vLLM server; `model` is a name under which it serves the language model, by default its first."""

    kind = KIND
    takes_token_ids = True

    def __init__(self, url: str, *, model: str | None = None, **connection: Unpack[Connection]) -> None:
        self._http = JsonHttp(url, **connection)
        self._of_model: dict[str, Any] = {} if model is None else {"model": model}
        self._base = model
        self._adapter: LoadableAdapter | None = None
        self._alternatives = _MAX_LOGPROBS
        self._tells_cached = False

    def adapted(self, adapter: LoadableAdapter) -> "VllmWire":
        """The wire to the same server with this adapter, over the same connections (see AdapterWire)."""
        wire = copy(self)
        wire._adapter, wire._of_model = adapter, {"model": adapter.name}  # noqa: SLF001 - a copy of this object
        return wire

    async def facts(self) -> ServerFacts:
        """Read `/v1/models` and `/version`; loads a missing adapter. Raises BackendError."""
        models = await self._http.get("/v1/models")
        try:
            version = await self._http.get("/version")
        except BackendRefused:  # a gateway that forwards only `/v1`
            version = {}
        with reading("/v1/models"):
            facts = read_facts(models["data"], version.get("version"), self._base)
            served = {model["id"] for model in models["data"]}
        if self._adapter is None or facts.problems:
            return facts
        self._adapter.check_names((facts.model, facts.revision))
        if self._adapter.name not in served:
            await self._load(self._adapter)
        return replace(facts, model=f"{facts.model} + {self._adapter.name}")

    async def encode(self, text: str, *, special: bool = False) -> list[Token]:
        """Encode by `/tokenize`; for a short text, with the tokens' offsets. Raises BackendError."""
        if not text and not special:
            return []
        suspects = lookalikes(text)
        tokens, spelled = await self._tokenize(text, special=special, spells=bool(suspects))
        atoms = [suspect for suspect in suspects if suspect in spelled]
        return await encode_in_parts(text, atoms, self.encode, special=special) if atoms else tokens

    async def next_token(self, prompt: Prompt, wanted: Sequence[int]) -> NextToken:
        """Make one call, or several if there are more wanted tokens than one call can score. Raises BackendError."""
        prompt = await with_token_ids(prompt, self.encode)
        batches = [wanted[start : start + _MAX_TOKEN_IDS] for start in range(0, len(wanted), _MAX_TOKEN_IDS)]
        answers = [await self._named(prompt, batch) for batch in batches or [()]]
        left_out = [token for token in wanted if not any(token in answer.by_id for answer in answers)]
        answers += [await self._complete(prompt, {"allowed_token_ids": [token]}) for token in left_out]
        by_id = {token: value for answer in answers for token, value in answer.by_id.items()}
        return checked(replace(combined(answers), by_id=by_id), wanted)

    async def close(self) -> None:
        """Close every connection."""
        await self._http.close()

    async def _load(self, adapter: LoadableAdapter) -> None:
        """Load the adapter; does nothing if it is there. Raises AdapterRefused, BackendUnavailable."""
        path = await adapter.path()
        words = await self._http.order(_LOAD, {"lora_name": adapter.name, "lora_path": path})
        if words is None or "already been loaded" in words:
            return
        if (allowed := _MAX_RANK.search(words)) is not None:
            rank = adapter.trained.rank
            raise adapter.refused(
                f"its rank is {rank}, and vLLM takes {allowed[1]}; launch vLLM with --max-lora-rank {rank}"
            )
        if "No adapter found" in words:
            raise adapter.refused(
                f"vLLM does not find the folder {path}; let it see the folder of adapters, and set the backend's "
                "adapter_folder to that folder's path at vLLM"
            )
        if words == "Not Found" or "not enabled" in words:
            raise adapter.refused(f"vLLM loads no adapters while it runs; {_TO_LOAD}")
        raise adapter.refused(f"vLLM says: {words}")

    async def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The answer to a body that names the model; loads the adapter first if the server has lost it meanwhile."""
        try:
            return await self._http.post(path, body)
        except BackendRefused as refusal:
            if self._adapter is None or f"`{self._adapter.name}` does not exist" not in str(refusal):
                raise
            await self._load(self._adapter)
        return await self._http.post(path, body)

    async def _tokenize(self, text: str, *, special: bool, spells: bool) -> tuple[list[Token], list[str]]:
        """The server's tokens, and their spellings for a short text or if `spells`."""
        spells = spells or len(text) <= SHORT_CHARACTERS
        body = {"prompt": text, "add_special_tokens": special, "return_token_strs": spells}
        reply = await self._post("/tokenize", {**body, **self._of_model})
        with reading("/tokenize"):
            pieces = reply.get("token_strs") or []
            spellings = (list(map(spell, pieces)) for spell in (byte_level, sentence_piece))
            return with_offsets(text, token_ids(reply["tokens"]), spellings), pieces

    async def _named(self, prompt: Prompt, tokens: Sequence[int]) -> NextToken:
        """The log-probabilities of these tokens, or of the likeliest; retries once within the server's cap."""
        fields = {"logprob_token_ids": list(tokens)} if tokens else {}
        tried = self._alternatives
        try:
            return await self._complete(prompt, fields)
        except BackendRefused as refusal:
            allowed = _MAX_ALLOWED.search(str(refusal))
            if allowed is None or int(allowed[1]) >= tried:
                raise
            self._alternatives = int(allowed[1])
        return await self._complete(prompt, fields)

    async def _complete(self, prompt: Prompt, fields: Mapping[str, Any]) -> NextToken:
        body = {
            "prompt": prompt.text if prompt.token_ids is None else list(prompt.token_ids),
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": self._alternatives,  # ignored by servers that know `logprob_token_ids`
            "return_tokens_as_token_ids": True,  # two tokens may have one text (vllm-project/vllm issue 44319)
            **self._of_model,
            **fields,
        }
        reply = await self._post("/v1/completions", body)
        with reading("/v1/completions"):
            answer = read_completion(reply, tells_cached=self._tells_cached)
        self._tells_cached = answer.tokens_computed is not None
        if prompt.token_ids is not None:
            check_not_truncated(len(prompt.token_ids), answer.tokens_sent)
        return answer


class VllmBackend(WireBackend):
    """The settings of a backend of kind `vllm`."""

    of_kind: ClassVar[Kind] = KIND

    kind: Literal["vllm"] = "vllm"
    model: ServedModel = None
    adapter_folder: AdapterFolderAtServer = None

    def wire(self, url: str) -> VllmWire:
        """The wire to one of the backend's servers."""
        return VllmWire(url, model=self.model, **self.connection)


def read_completion(reply: Any, *, tells_cached: bool = False) -> NextToken:
    """Read a reply to `/v1/completions`. Raises what `reading` translates, and BackendError.

    Older servers with the option to report cached tokens leave the field out if there are none. So for a
    server that has reported it once (`tells_cached`), a missing field means zero.
    """
    (choice,) = reply["choices"]
    if choice["finish_reason"] not in ("length", "stop"):
        raise BackendUnavailable(f"vLLM ended the completion with {choice['finish_reason']!r}")
    usage = reply["usage"]
    details = usage.get("prompt_tokens_details") or ({"cached_tokens": 0} if tells_cached else {})
    sent = count(usage["prompt_tokens"])
    return NextToken(_read_tokens(choice["logprobs"]), sent, computed_tokens(sent, details.get("cached_tokens")))


def _read_tokens(log_probabilities: Any) -> dict[int, float]:
    """The generated token and its alternatives."""
    generated = zip(log_probabilities["tokens"], log_probabilities["token_logprobs"], strict=True)
    pairs = [*generated, *log_probabilities["top_logprobs"][0].items()]
    if not all(key.startswith(_ID_KEY) for key, _ in pairs):
        raise BackendRefused("vLLM names tokens by their text; scoring needs `return_tokens_as_token_ids` (vLLM 0.6)")
    return {int(key.removeprefix(_ID_KEY)): log_probability(value) for key, value in pairs}


def read_facts(models: Iterable[Mapping[str, Any]], version: object, chosen: str | None) -> ServerFacts:
    """The facts in the list of models about the chosen one. Raises what `reading` translates."""
    served = {model["id"]: model for model in models}
    if chosen is not None and chosen not in served:
        problem = f"the server has no model {chosen!r}; set the backend's model to one of: {', '.join(served)}"
        return ServerFacts(server_version=text_or_none(version), problems=(problem,))
    model = served[chosen or next(iter(served), "")]
    base = served.get(model.get("parent"), model)  # vLLM gives a LoRA adapter no `max_model_len`
    context = positive_or_none(model.get("max_model_len") or base.get("max_model_len"))
    return ServerFacts(
        model=model["id"],
        revision=text_or_none(model.get("root") if model.get("root") != model["id"] else None),
        server_version=text_or_none(version),
        context_tokens=context and context - 1,
    )
