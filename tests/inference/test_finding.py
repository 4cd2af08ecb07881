"""What is said of a language model that nobody can load, and how soon: no library that takes seconds has to load."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest
from huggingface_hub import constants

from inference.finding import ModelMissing, find
from training.fetching import fetch


@contextmanager
def hub(status: int, body: bytes = b"{}", headers: tuple[tuple[str, str], ...] = ()) -> Iterator[str]:
    """A hub that gives every request this answer."""

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for header in (("Content-Type", "application/json"), ("Content-Length", str(len(body))), *headers):
                self.send_header(*header)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Write nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(autouse=True)
def nothing_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without downloaded models and without an order to stay offline; returns the cache."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # where nobody listens
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


def refused(model: str) -> str:
    with pytest.raises(ModelMissing) as missing:
        find(model)
    return str(missing.value)


def test_a_hub_that_cannot_be_reached_is_named_with_what_to_do() -> None:
    said: list[str] = []
    with pytest.raises(ModelMissing) as missing:
        find("gpt2-nonesuch", said.append)
    assert said == ["looking for gpt2-nonesuch on the Hugging Face hub (http://127.0.0.1:9) ..."]
    told = str(missing.value)
    assert "the model was never downloaded, and http://127.0.0.1:9 cannot be reached (" in told
    assert told.endswith("name a folder or a GGUF file, or run `hf download gpt2-nonesuch` where there is a network")


@pytest.mark.parametrize(
    ("status", "headers", "told"),
    [
        (404, (("X-Error-Code", "RepoNotFound"),), "no such model on the Hugging Face hub; look for a mistyped name"),
        (401, (("X-Error-Code", "RepoNotFound"),), "no such model on the Hugging Face hub; look for a mistyped name"),
        (401, (), "the Hugging Face hub answered with status 401; check HF_TOKEN, log in with `hf auth login`, or"),
        (403, (("X-Error-Code", "GatedRepo"),), "only to accounts that have accepted its terms: accept them at "),
        (500, (), "the Hugging Face hub answered with status 500; try again later, or name a folder"),
        (429, (("Retry-After", "300"),), "the Hugging Face hub answered with status 429; try again later"),
    ],
)
def test_each_answer_of_the_hub_is_told_apart(
    status: int, headers: tuple[tuple[str, str], ...], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hub(status, headers=headers) as url:
        monkeypatch.setattr(constants, "ENDPOINT", url)
        assert told in refused("org/model")


def test_a_model_of_the_hub_is_found_and_one_without_a_configuration_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with hub(200, b'{"id": "org/model", "siblings": [{"rfilename": "config.json"}]}') as url:
        monkeypatch.setattr(constants, "ENDPOINT", url)
        find("org/model")
    with hub(200, b'{"id": "org/model", "siblings": [{"rfilename": "model-Q4.gguf"}]}') as url:
        monkeypatch.setattr(constants, "ENDPOINT", url)
        assert "download one file, such as model-Q4.gguf, and name it" in refused("org/model")


def test_a_hub_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    hanging = Event()
    monkeypatch.setattr("inference.finding.HfApi.model_info", lambda *_, **__: hanging.wait())
    monkeypatch.setattr("inference.finding._ANSWER_SECONDS", 0.01)
    assert "cannot be reached (no answer within 0.01 s)" in refused("org/model")
    hanging.set()


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_an_order_to_stay_offline_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    assert f"and {name} forbids asking the Hugging Face hub; name a folder" in refused("org/model")
    assert refused("org/model").endswith(f"or unset {name}")


def test_a_downloaded_model_needs_no_hub(nothing_downloaded: Path) -> None:
    folder = nothing_downloaded / "models--org--model"
    (folder / "snapshots" / "1").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("1")
    (folder / "snapshots" / "1" / "config.json").write_text("{}")
    assert "cannot be reached" in refused("org/model")  # the download was cut off before the weights
    (folder / "snapshots" / "1" / "model.safetensors").touch()
    find("org/model")


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("./modells", "there is no such folder or file; did you mean 'models'?"),
        ("models/tiny-lama", "did you mean 'models/tiny-llama'?"),
        ("models/tiny-lama/", "did you mean 'models/tiny-llama'?"),
        ("modles/a/b", "the folder 'modles/a' does not exist either"),
        ("none.gguf", "there is no such folder or file"),
        ("my model", "the Hugging Face hub has no such names: name a folder, a GGUF file, or a model as"),
        ("caf\u00e9", "the Hugging Face hub has no such names"),
    ],
)
def test_a_mistyped_path_is_told_from_a_name(model: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "models" / "tiny-llama").mkdir(parents=True)
    assert told in refused(model)
    find("models/tiny-llama")


def test_a_server_without_its_model_ends_before_torch_loads() -> None:
    script = (
        "import sys; from inference.finding import end_without_model\n"
        "try: end_without_model(['--port', '0', '--model', './none', '--log-format', 'json'])\n"
        "except SystemExit as ended: print(ended.code, 'torch' in sys.modules, 'transformers' in sys.modules)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["3", "False", "False"]
    assert "the language model './none' cannot be loaded: there is no such folder or file" in done.stderr


def test_a_base_that_cannot_be_downloaded_is_told_in_one_sentence() -> None:
    told = fetch("org/model")
    assert told is not None
    assert told.startswith("the base 'org/model' cannot be downloaded: there is no such folder here")
