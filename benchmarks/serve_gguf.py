"""A llama.cpp server on this machine's CPU, from the package `xllamacpp`, until it is ended.

    .venv-llamacpp/bin/python benchmarks/serve_gguf.py FILE.gguf --port 8080 --slots 4 --context-tokens 8192

It is a program by itself, since its environment has nothing but that package.
"""

import argparse
import threading

import xllamacpp


def parameters(arguments: argparse.Namespace) -> xllamacpp.CommonParams:
    """The parameters that the flags of `llama-server` would set."""
    chosen = xllamacpp.CommonParams()
    chosen.model.path = arguments.model
    chosen.hostnames = ["127.0.0.1"]  # --host
    chosen.port = arguments.port
    chosen.n_parallel = arguments.slots
    chosen.n_ctx = arguments.context_tokens
    chosen.kv_unified = True  # slots share one pool, so that each may have the whole context
    chosen.swa_full = True  # else a layer with a window keeps only the window, so no prefix can be reused
    chosen.cpuparams.n_threads = arguments.threads
    chosen.endpoint_props = chosen.endpoint_slots = chosen.endpoint_metrics = True
    return chosen


def main() -> None:
    """Serve the file that the command line names."""
    parser = argparse.ArgumentParser(description="Serve a GGUF file with llama.cpp on the CPU.")
    parser.add_argument("model")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--context-tokens", type=int, default=8192)
    parser.add_argument("--threads", type=int, default=2)
    server = xllamacpp.Server(parameters(parser.parse_args()))
    threading.Event().wait()  # its threads live as long as this object
    del server


if __name__ == "__main__":
    main()
