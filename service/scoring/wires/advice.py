"""What to change about a server that cannot give what scoring needs, in the flags of its kind.

Sources: the launch options documented by vLLM 0.33, SGLang 0.5, text-generation-inference 3.3
and llama.cpp's `llama-server`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

TITLES: Mapping[str, str] = {
    "tgi": "text-generation-inference",
    "embedded": "the embedded inference server",
    "vllm": "vLLM",
    "sglang": "SGLang",
    "llamacpp": "llama.cpp",
    "deterministic": "the deterministic twin",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedies:
    """One sentence for each thing that may be wrong, without a full stop."""

    unreachable_label: str
    computed_tokens: str
    prefix_cache: str
    cache_block: str
    differing_calls: str
    context: str


_ANY = Remedies(
    unreachable_label="take other labels, or a server that names more alternatives",
    computed_tokens="this kind of server does not tell it",
    prefix_cache="turn the server's prefix cache on",
    cache_block="give the prefix cache smaller blocks",
    differing_calls="serve the model in a higher precision",
    context="use a release that tells it",
)

_BY_KIND: Mapping[str, Remedies] = {
    "tgi": Remedies(
        unreachable_label="launch the server with a higher --max-top-n-tokens (200 is a good start, its own default "
        "is 5) and set the backend's max_top_tokens to the same number",
        computed_tokens="text-generation-inference never does; vLLM, SGLang and llama.cpp do",
        prefix_cache="set PREFIX_CACHING=1 where the server runs; it needs the attention of flashinfer or "
        "flashdecoding, a GPU of compute capability 8.0 or more, and heads of 64, 128 or 256",
        cache_block="launch the server with ATTENTION=flashinfer, which caches token by token",
        differing_calls="text-generation-inference has no switch for it; --dtype float32 makes it small, and vLLM "
        "with VLLM_BATCH_INVARIANT=1 removes it",
        context="set --max-input-tokens",
    ),
    "vllm": Remedies(
        unreachable_label="use a release of vLLM that takes `logprob_token_ids` with /v1/completions (0.32 does), "
        "or launch the server with --max-logprobs 200",
        computed_tokens="launch the server with --enable-prompt-tokens-details",
        prefix_cache="launch the server with --enable-prefix-caching",
        cache_block="launch the server with a smaller --block-size, where the platform has one",
        differing_calls="set VLLM_BATCH_INVARIANT=1 where the server runs (GPUs of compute capability 8.0 or more)",
        context="set --max-model-len, and use a release whose /v1/models tells `max_model_len`",
    ),
    "sglang": Remedies(
        unreachable_label="use a release of SGLang whose /generate takes `token_ids_logprob` (0.5 does)",
        computed_tokens="use a release of SGLang whose /generate tells `cached_tokens` (0.5 does)",
        prefix_cache="launch the server without --disable-radix-cache and without --enable-mis",
        cache_block="launch the server with --page-size 1, where its attention backend takes it",
        differing_calls="launch the server with --enable-deterministic-inference",
        context="set --context-length, and use a release whose /server_info or /v1/models tells it",
    ),
    "llamacpp": Remedies(
        unreachable_label="take other labels, or a release of llama-server whose /completion takes a larger `n_probs`",
        computed_tokens="use a release of llama-server that tells `timings.cache_n`",
        prefix_cache="launch the server with --cache-prompt and, for a model with sliding-window attention, --swa-full",
        cache_block="use a release of llama-server that reuses a prompt token by token",
        differing_calls="launch the server with one slot (-np 1) and a KV cache of full precision "
        "(--cache-type-k f16 --cache-type-v f16)",
        context="set --ctx-size; every slot gets its share of it",
    ),
    "embedded": Remedies(
        unreachable_label="launch the server with a higher --max-top-n-tokens, or set the backend's kind to "
        "'embedded', which reads every label",
        computed_tokens="use the inference server of this release",
        prefix_cache="launch the server with a higher --cache-tokens",
        cache_block="use the inference server of this release",
        differing_calls="launch the server with --dtype float32",
        context="use the inference server of this release",
    ),
}


def remedies_of(kind: str) -> Remedies:
    """What to change about a server of this kind."""
    return _BY_KIND.get(kind, _ANY)


def title_of(kind: str) -> str:
    """The kind of server as people call it."""
    return TITLES.get(kind, kind)
