"""`python -m inference` as an operator runs it."""

import json
import os
import runpy
import sys
from pathlib import Path

import httpx

from tests.inference.lora import save_adapter
from tests.support.forked import context
from tests.support.inference.tiny import llama, save


def serve(arguments: list[str], errors: Path) -> None:
    """Run the command in a child that has loaded the libraries; its log goes into a file."""
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT), 2)
    sys.argv = ["inference", *arguments]
    runpy.run_module("inference", run_name="__main__")


def ready_url(log: Path) -> str | None:
    """The address in the log line that says the server is ready."""
    lines = log.read_text("utf-8").splitlines() if log.exists() else []
    told = (json.loads(line) for line in lines if line.endswith("}"))
    return next((event["url"] for event in told if event["event"] == "ready"), None)


def test_the_server_reports_when_it_is_ready_and_stops_on_a_signal(tmp_path: Path) -> None:
    save(tmp_path / "tiny")
    folder, log = save_adapter(tmp_path / "lora", llama()), tmp_path / "log"
    options = ["--port", "0", "--threads", "1", "--cache-tokens", "1000", "--max-top-n-tokens", "7"]
    options += ["--adapter", f"a={folder}", "--adapter", f"b+1={folder}", "--adapter-folder", str(tmp_path)]
    arguments = ["--model", str(tmp_path / "tiny"), "--log-format", "json", *options]
    process = context().Process(target=serve, args=(arguments, log), daemon=True)
    process.start()
    try:
        while (url := ready_url(log)) is None:
            process.join(0.01)
            assert process.is_alive(), log.read_text("utf-8")
        assert httpx.get(f"{url}/health").status_code == 200
        assert httpx.get(f"{url}/info").json()["max_top_n_tokens"] == 7
        assert "inference_cache_capacity_tokens 1000.0" in httpx.get(f"{url}/metrics").text
        loaded = httpx.post(f"{url}/v1/load_lora_adapter", json={"lora_name": "c", "lora_path": "lora"})
        assert loaded.status_code == 200
        assert [model["id"] for model in httpx.get(f"{url}/v1/models").json()["data"]] == ["tiny", "a", "b+1", "c"]
        process.terminate()
        process.join(30)
        assert process.exitcode == 0
    finally:
        process.kill()
        process.join()
