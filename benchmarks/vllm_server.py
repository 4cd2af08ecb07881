"""Runs a real vLLM on this machine's CPU."""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.launching import Launch, launched
from icm.local_stack.free_ports import free_port
from inference.settings import SMALL_MODEL

PYTHON = Path(__file__).parents[1] / ".venv-vllm" / "bin" / "python"  # made by `make test-vllm`
_LOADS_ADAPTERS = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"}
_COUNTER = re.compile(r"^vllm:(\w+?)_total\{[^}]*\} (\S+)$", re.MULTILINE)
_BLOCK = re.compile(r'^vllm:cache_config_info\{(?:[^}]*,)?block_size="(\d+)"', re.MULTILINE)


@dataclass(frozen=True)
class PromptTokens:
    """vLLM's own counters of prompt tokens since it started."""

    sent: int
    cached: int

    @property
    def computed(self) -> int:
        """Those not found in the prefix cache."""
        return self.sent - self.cached

    def since(self, before: "PromptTokens") -> "PromptTokens":
        """The tokens since an earlier reading."""
        return PromptTokens(self.sent - before.sent, self.cached - before.cached)


@contextmanager
def vllm_server(
    *arguments: str, model: Path = SMALL_MODEL, context_tokens: int = 4096, loads_adapters: bool = False
) -> Iterator[str]:
    """Start vLLM with these further arguments and wait until it is ready; gives its URL. Raises ServerDidNotStart.

    `model` is a folder, or a hub name that is in the hub's cache; vLLM serves it under the last part of its name.
    With `loads_adapters` any client of it may load LoRA adapters.

    vLLM and all its processes end with the block, and also if this process is killed.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory(prefix="icm-vllm-") as folder:
        launch = Launch(
            name="vLLM",
            python=PYTHON,
            target="test-vllm",
            arguments=(*_command(port, model, context_tokens), *arguments),
            environment={**_environment(folder), **(_LOADS_ADAPTERS if loads_adapters else {})},
            health=f"{url}/health",
        )
        with launched(launch, Path(folder, "log")):
            yield url


def served_name(model: Path) -> str:
    """The name under which vLLM serves a language model."""
    return model.absolute().name


def prompt_tokens(url: str) -> PromptTokens:
    """The counters of prompt tokens that went through the prefix cache."""
    return read_counters(_metrics(url))


def block_tokens(url: str) -> int:
    """Tokens of a block of the prefix cache. Raises ValueError where vLLM does not say."""
    return read_block(_metrics(url))


def read_counters(metrics: str) -> PromptTokens:
    """From the text of `/metrics`; several engines are added up. Raises KeyError where vLLM does not count."""
    counters = dict[str, float]()
    for name, value in _COUNTER.findall(metrics):
        counters[name] = counters.get(name, 0.0) + float(value)
    return PromptTokens(int(counters["prefix_cache_queries"]), int(counters["prefix_cache_hits"]))


def read_block(metrics: str) -> int:
    """From the text of `/metrics`. Raises ValueError where vLLM does not say."""
    found = _BLOCK.search(metrics)
    if found is None:
        raise ValueError("/metrics has no vllm:cache_config_info")
    return int(found[1])


def _metrics(url: str) -> str:
    return httpx.get(f"{url}/metrics", trust_env=False).raise_for_status().text


def _command(port: int, model: Path, context_tokens: int) -> tuple[str, ...]:
    """The module, since the command `vllm` looks for a package of that name, and this build has another."""
    return (
        *("-m", "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1", "--port", str(port)),
        *("--model", str(model), "--served-model-name", served_name(model), "--max-model-len", str(context_tokens)),
        *("--dtype", "float32", "--enforce-eager", "--enable-prompt-tokens-details"),
    )


def _environment(folder: str) -> dict[str, str]:
    return {
        **os.environ,
        "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # a container's cores may not be the machine's
        "OMP_NUM_THREADS": "1",  # threads that wait for each other spin, and there are few cores for many processes
        "VLLM_NO_USAGE_STATS": "1",  # else it reports to its makers
        "HF_HUB_OFFLINE": "1",
        "VLLM_CACHE_ROOT": str(Path(folder, "cache")),
        "VLLM_CONFIG_ROOT": str(Path(folder, "config")),
    }
