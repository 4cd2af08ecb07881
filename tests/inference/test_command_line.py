"""The command line of `python -m inference`: its defaults, and what it says of mistakes."""

import json
import socket
from pathlib import Path

import pytest

from inference.engine import Engine
from inference.finding import MODEL_UNUSABLE
from inference.ports import PortUnusable, check_port
from inference.server import build_engine, main
from inference.settings import SMALL_MODEL, Settings, read_settings
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


@pytest.mark.parametrize("loads", [False, True], ids=["before", "meanwhile"])
def test_a_port_that_is_taken_is_reported_and_no_model_loads_in_vain(
    tiny_folder: Path, *, loads: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = list[str]()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        if loads:  # somebody takes the port while the model loads
            other.close()

        def load(settings: Settings) -> Engine:
            loaded.append(settings.model)
            taken.append(socket.create_server(("127.0.0.1", port)))
            return build_engine(settings)

        taken = list[socket.socket]()
        monkeypatch.setattr("inference.server.build_engine", load)
        monkeypatch.setattr(
            "sys.argv", ["inference", "--log-format", "json", "--port", str(port), "--model", str(tiny_folder)]
        )
        monkeypatch.setattr("signal.signal", lambda *_: None)
        with pytest.raises(SystemExit) as ended:
            main()
        for each in taken:
            each.close()
    assert (ended.value.code, len(loaded)) == (1, int(loads))
    told = json.loads(capsys.readouterr().err.splitlines()[-1])["event"]
    assert told == (
        f"the server cannot start: another process listens on port {port} of 127.0.0.1; "
        "choose another by --port (0: any free one)"
    )


def test_a_host_that_is_not_of_this_machine_is_reported() -> None:
    with pytest.raises(PortUnusable, match=r"nobody can listen on port 0 of 192\.0\.2\.1 \(.*--host"):
        check_port("192.0.2.1", 0)
    with pytest.raises(PortUnusable, match="the host 'no such name' has no address here"):
        check_port("no such name", 0)


def test_the_check_of_the_port_passes_over_addresses_that_the_server_passes_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def addresses(*_: object, **__: object) -> list[tuple[object, ...]]:
        of_no_system = (socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_TCP, "", ("127.0.0.1", 0))
        return [of_no_system, (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", 0))]

    check_port("", 0)  # every address of this machine
    monkeypatch.setattr("inference.ports.socket.getaddrinfo", addresses)
    check_port("localhost", 0)


def test_a_port_out_of_range_is_refused_with_the_range(capsys: pytest.CaptureFixture[str]) -> None:
    for port in ("99999", "-1", "http"):
        with pytest.raises(SystemExit):
            read_settings([f"--port={port}"])
        assert f"--port: {port!r} is no port; ports are numbers from 0 to 65535" in capsys.readouterr().err


def test_without_options_the_small_model_is_served_locally() -> None:
    settings = read_settings([])
    assert Path(settings.model) == SMALL_MODEL
    assert (settings.host, settings.port, settings.device, settings.dtype) == ("127.0.0.1", 8080, "auto", "auto")
    assert (settings.limits.max_concurrent_requests, settings.limits.max_top_n_tokens) == (128, 1000)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--threads", "0"], "--threads: '0' is no whole number from 1 on"),
        (["--cache-tokens", "x"], "--cache-tokens: 'x' is no whole number from 1 on"),
        (["--adapter", "x"], "--adapter: 'x' is not of the form NAME=FOLDER"),
        (["--dtype", "int8"], "--dtype: invalid choice: 'int8'"),
        (["--spin"], "unrecognized arguments: --spin"),
    ],
    ids=["zero", "no number", "no folder", "no choice", "no option"],
)
def test_a_mistake_on_the_command_line_is_reported(
    arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        read_settings(arguments)
    assert why in capsys.readouterr().err


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
