"""The command line of `python -m inference`: its defaults, and what it says of mistakes."""

import json
from pathlib import Path

import pytest

from inference.finding import MODEL_UNUSABLE
from inference.server import main
from inference.settings import SMALL_MODEL, read_settings
from tests.inference.lora import save_adapter
from tests.support.inference.tiny import llama


@pytest.mark.parametrize(
    ("name", "is_dora", "why"),
    [("small_model", False, "'small_model' is the name of the base"), ("a", True, "use_dora is set")],
)
def test_an_adapter_that_cannot_be_served_is_reported_on_one_line(
    name: str,
    *,
    is_dora: bool,
    why: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = save_adapter(tmp_path / "lora", llama(), use_dora=is_dora)
    monkeypatch.setattr("sys.argv", ["inference", "--log-format", "json", "--adapter", f"{name}={folder}"])
    monkeypatch.setattr("signal.signal", lambda *_: None)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == MODEL_UNUSABLE
    told = json.loads(capsys.readouterr().err.splitlines()[-1])["event"]
    assert told.startswith(f"the adapter {name!r} in {str(folder)!r} cannot be served: ")
    assert why in told


def test_without_options_the_small_model_is_served_locally() -> None:
    settings = read_settings([])
    assert Path(settings.model) == SMALL_MODEL
    assert (settings.host, settings.port, settings.device, settings.dtype) == ("127.0.0.1", 8080, "auto", "auto")
    assert (settings.limits.max_concurrent_requests, settings.limits.max_top_n_tokens) == (128, 1000)


@pytest.mark.parametrize(
    "arguments", [["--threads", "0"], ["--dtype", "int8"], ["--cache-tokens", "x"], ["--spin"], ["--adapter", "x"]]
)
def test_a_mistake_on_the_command_line_is_reported(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_settings(arguments)
    assert arguments[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("named", "why"),
    [
        ({"model": None}, "there is no such folder or file"),
        ({"no.gguf": None}, "there is no such folder or file"),
        ({"model": "{"}, "JSON"),
        ({"model": '{"model_type": "odd"}'}, "odd"),
    ],
)
def test_a_language_model_that_cannot_be_loaded_is_reported_on_one_line(
    named: dict[str, str | None],
    why: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    [(name, config)] = named.items()
    folder = tmp_path / name
    if config is not None:
        folder.mkdir()
        (folder / "config.json").write_text(config)
    monkeypatch.setattr("sys.argv", ["inference", "--model", str(folder), "--log-format", "json"])
    monkeypatch.setattr("signal.signal", lambda *_: None)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == MODEL_UNUSABLE
    told = json.loads(capsys.readouterr().err.splitlines()[-1])["event"]
    assert told.startswith(f"the language model {str(folder)!r} cannot be loaded: ")
    assert why in told
    assert "\n" not in told
