import json
import os
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from api import __main__ as api_main
from icm.cli import build_app
from icm.commands.failures import ExitCode, exit_code
from icm.commands.serve import notices
from icm.local_stack.free_ports import PortUnusable, free_port, listening
from icm.local_stack.stack import (
    NOTICE_SECONDS,
    LoadingNotice,
    StackOptions,
    Stopped,
    api_settings,
    metrics_port,
    own_backends,
    running,
    training_bases,
)
from icm.local_stack.supervisor import Part, PartMisused
from inference.settings import SMALL_MODEL


def test_a_port_that_is_taken_is_not_called_free() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert free_port() != taken.getsockname()[1]


@pytest.mark.parametrize(("taken_at", "asked"), [("127.0.0.1", "127.0.0.1"), ("127.0.0.1", "0.0.0.0"), ("::1", "::1")])  # noqa: S104 - compared
def test_a_taken_port_is_named_with_what_to_choose_instead(taken_at: str, asked: str) -> None:
    family = socket.AF_INET6 if ":" in taken_at else socket.AF_INET
    with socket.create_server((taken_at, 0), family=family) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortUnusable, match=rf"port {port} of {asked} is taken.*--port 0"), listening(asked, port):
            pass
        assert exit_code(PortUnusable("taken")) is ExitCode.USAGE
    with listening(asked, port):
        pass


def test_of_concurrent_requests_for_a_port_one_gets_it() -> None:
    port, gets, told = free_port(), list[int](), list[str]()
    start, end = threading.Barrier(8), threading.Barrier(8)

    def serve() -> None:
        start.wait()
        try:
            with listening("127.0.0.1", port) as sockets:
                gets.append(sockets[0].getsockname()[1])
                end.wait()
        except PortUnusable as error:
            told.append(str(error))
            end.wait()

    threads = [threading.Thread(target=serve) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert gets == [port]
    assert all(f"port {port} of 127.0.0.1 is taken" in text for text in told)
    assert len(told) == 7


def test_a_free_port_is_the_same_for_all_addresses_of_a_host() -> None:
    with listening("localhost", 0) as sockets:
        assert len({listener.getsockname()[1] for listener in sockets}) == 1


def test_the_api_serves_on_the_sockets_that_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[tuple[str, int]] = []

    async def serve(_settings: object, sockets: list[socket.socket]) -> None:
        served.extend(each.getsockname() for each in sockets)
        for each in sockets:
            each.close()

    monkeypatch.setattr("api.__main__.serve", serve)
    with listening("127.0.0.1", 0) as [listener]:
        monkeypatch.setattr("sys.argv", ["api", "--fd", str(os.dup(listener.fileno()))])
        api_main.main()
        assert served == [listener.getsockname()]


@pytest.mark.parametrize("host", ["192.0.2.1", "nowhere.invalid"])
def test_an_address_that_this_machine_does_not_have_is_named(host: str) -> None:
    with pytest.raises(PortUnusable, match=f"--host {host}"), listening(host, free_port()):
        pass


def test_a_taken_port_is_reported_before_anything_is_started(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = CliRunner().invoke(build_app(), ["serve", "--port", port, "--data-dir", str(tmp_path / "data")])
    assert (done.exit_code, f"port {port} of 127.0.0.1 is taken" in done.stderr) == (2, True)
    assert not (tmp_path / "data").exists()


def test_a_data_folder_that_is_a_file_is_reported_before_anything_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rows.csv").write_text("a\n1\n")
    done = CliRunner().invoke(build_app(), ["serve", "--port", "0", "--data-dir", "rows.csv"])
    assert (done.exit_code, "rows.csv is a file; name a folder" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("backends", "told"),
    [
        ("[{}]", "--backends[0]: is empty; give it a kind and a url"),
        ('[{"kind": "deterministic"}, {}]', "--backends[1]: is empty; give it a kind and a url"),
        ("[]", "--backends: give a list of objects, such as"),
        ("[7]", "--backends: give a list of objects, such as"),
        ('[{"kind": "vlllm"}]', "--backends[0].kind: must be"),
        ('[{"kind": null, "url": "http://gpu:1"}]', "--backends[0].kind: must be"),
        ('[{"kind": "vllm"}]', "--backends[0].url: is missing; give the address"),
        ('[{"url": "http://gpu:1"}]', "--backends[0].kind: is missing; give 'tgi', "),
        ('[{"name": "a"}, {"name": "b", "uri": 1}]', "--backends[1].uri: there is no such setting; did you mean url?"),
        ('{"url": 3}', "--backends[0].url: must be text"),
        ('{"url": "gpu:8000"}', "--backends[0].url: must begin with http://"),
        ('{"url": "http://"}', "--backends[0].url: must begin with http://"),
        ('{"url": "http://gpu:x"}', "--backends[0].url: has the port 'x'; a port is a number from 1 to"),
        ('{"url": " http://gpu"}', "--backends[0].url: must be the server's root"),
        ('{"url": "http://gpu/?a=b"}', "--backends[0].url: must be the server's root"),
        ('{"replicas": ["gpu"]}', "--backends[0].replicas: must begin with http://"),
        ('{"url": "http://a", "replicas": ["http://a/"]}', "--backends[0]: `replicas` names a server twice"),
        ('{"api_key": "a\\nb"}', "--backends[0].api_key: has characters"),
        ('{"concurrency": true}', "--backends[0].concurrency: must be a number"),
        ('{"name": ""}', "--backends[0].name: must be a text"),
        ('{"name": "a "}', "--backends[0].name: must be a text"),
        ('{"name": "train_1"}', "--backends[0].name: must not begin with `train_`"),
        ('[{"name": "a"}, {"name": "a"}]', "--backends: two backends have the same name"),
        ("[{]", "--backends: "),
        ('[{"name": "a", "name": "b"}]', "--backends: the key 'name' is given more than once"),
        ("nowhere.json", "nowhere.json is neither JSON nor a readable file"),
    ],
)
def test_unusable_backends_are_reported_before_anything_is_started(backends: str, told: str, tmp_path: Path) -> None:
    words = ["serve", "--port", "0", "--data-dir", str(tmp_path / "data"), "--backends", backends]
    done = CliRunner().invoke(build_app(), words, env={"COLUMNS": "300"})
    assert (done.exit_code, told in done.stderr) == (2, True), done.stderr
    assert not {"Traceback", "pydantic", "Input should"} & set(done.stderr.split())
    assert not (tmp_path / "data").exists()


def test_whoever_starts_a_service_is_told_of_backends_at_which_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        there, nowhere = f"http://127.0.0.1:{listener.getsockname()[1]}", f"http://127.0.0.1:{free_port()}"
        near = {"name": "near", "kind": "vllm", "url": there}
        backends = [near, {**near, "name": "far", "url": nowhere}, {"name": "twin", "kind": "deterministic"}]
        [told] = notices(StackOptions(data_folder=Path("d"), backends=backends))
        assert told.startswith(f"nothing listens at {nowhere}, of backend 'far'")
        [told] = notices(StackOptions(data_folder=Path("d"), backends=[{**near, "replicas": [nowhere]}]))
        assert told.startswith(f"nothing listens at {nowhere}, of backend 'near'")


def test_backends_of_the_environment_are_not_passed_over_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ICM_BACKENDS", raising=False)
    assert list(notices(StackOptions(data_folder=Path("d")))) == []
    monkeypatch.setenv("ICM_BACKENDS", '[{"kind": "vllm", "url": "http://gpu:8000"}]')
    [told] = notices(StackOptions(data_folder=Path("d")))
    assert told.startswith("ICM_BACKENDS is set, and this service uses its own inference server")


def test_an_unusable_setting_of_the_environment_is_reported_too(tmp_path: Path) -> None:
    environment = {"ICM_QUEUE__LEASE_SECONDS": "soon"}
    words = ["serve", "--port", "0", "--data-dir", str(tmp_path / "data")]
    done = CliRunner().invoke(build_app(), words, env=environment)
    assert (done.exit_code, "ICM_QUEUE__LEASE_SECONDS: must be a number" in done.stderr) == (3, True)


@pytest.mark.parametrize(
    ("command", "model"),
    [("label", "/nowhere/model"), ("serve", "./nowhere"), ("serve", "nowhere.gguf"), ("serve", "a/b/c")],
)
def test_a_missing_language_model_is_reported_before_anything_is_started(
    command: str, model: str, tmp_path: Path
) -> None:
    (tmp_path / "d.jsonl").write_text("{}\n")
    files = {"serve": [], "label": [str(tmp_path / "d.jsonl"), "-c", str(tmp_path / "d.jsonl"), "-o", "o.jsonl"]}
    done = CliRunner().invoke(build_app(), [command, *files[command], "--model", model], env={"COLUMNS": "300"})
    assert (done.exit_code, f"{model}: there is no such folder or file" in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("folder", "the folder has no config.json, so it is no Hugging Face model"),
        ("adapter", "this is an adapter: name its base with --model"),
        ("notes.txt", "this file is no GGUF file"),
        ("./modle/", "there is no such folder or file; did you mean model?"),
    ],
)
def test_a_path_that_holds_no_language_model_is_reported_before_anything_is_started(
    model: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("folder", "adapter", "model"):
        Path(name).mkdir()
    Path("adapter/adapter_config.json").write_text("{}")
    Path("notes.txt").write_text("none")
    done = CliRunner().invoke(build_app(), ["serve", "--port", "0", "--model", model], env={"COLUMNS": "300"})
    assert (done.exit_code, told in done.stderr) == (2, True), done.stderr
    assert not Path("data").exists()


@pytest.mark.parametrize("tells_stages", [True, False])
def test_a_name_that_no_folder_has_is_looked_for_before_another_part_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, tells_stages: bool
) -> None:
    started: list[tuple[str, ...]] = []

    def missing(*words: str) -> tuple[str, ...]:
        started.append(words)
        return sys.executable, "-c", "print('there is no such model'); raise SystemExit(3)"

    monkeypatch.setattr("icm.local_stack.stack._python", missing)
    options, said = StackOptions(data_folder=tmp_path, language_model="org/none"), list[str]()
    stage = said.append if tells_stages else None
    with (
        pytest.raises(PartMisused, match="there is no such model"),
        running(options, lambda: False, say=said.append, tell_stage=stage),
    ):
        pass
    assert started == [("inference.finding", "--model", "org/none")]
    assert said == ["looking for the language model org/none, here and on the Hugging Face hub"]


@pytest.mark.parametrize(
    ("adapters", "told"),
    [
        (["claims=nowhere"], "nowhere: there is no such folder"),
        (["claims=empty"], "empty has no adapter_config.json: name the folder of an adapter"),
        (["adapter"], "give a name and a folder, as in --adapter claims=run/adapter"),
        (["=adapter"], "give a name and a folder"),
        (["claims="], "give a name and a folder"),
        (["my claims=adapter"], "'my claims' is no name for an adapter"),
        (["default=adapter"], "'default' is the name of the language model itself"),
        (["claims=adapter", "claims=adapter"], "'claims' is given twice"),
        (["claims=adapter", "--backends", "[{}]"], "--model and --adapter are for the embedded inference server"),
    ],
)
def test_an_unusable_adapter_is_reported_before_anything_is_started(
    adapters: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("adapter", "empty"):
        Path(name).mkdir()
    Path("adapter/adapter_config.json").write_text("{}")
    words = [f"--adapter={given}" if "=" in given or given == "adapter" else given for given in adapters]
    command = ["serve", "--port", "0", "--data-dir", "data", *words]
    done = CliRunner().invoke(build_app(), command, env={"COLUMNS": "300"})
    assert (done.exit_code, told in done.stderr) == (2, True), done.stderr
    assert not Path("data").exists()


def test_an_adapter_that_the_inference_server_refuses_is_reported_before_another_part_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[str, ...]] = []

    def refusing(*words: str) -> tuple[str, ...]:
        started.append(words)
        return sys.executable, "-c", "print('it was trained on another base'); raise SystemExit(3)"

    monkeypatch.setattr("icm.local_stack.stack._python", refusing)
    options = StackOptions(data_folder=tmp_path, adapters={"claims": Path("/a")}, adapter_folder=Path("/trained"))
    with pytest.raises(PartMisused, match="trained on another base"), running(options, lambda: False, say=print):
        pass
    assert [words[0] for words in started] == ["inference"]
    assert started[0][-4:] == ("--adapter", "claims=/a", "--adapter-folder", "/trained")
    assert [path.name for path in tmp_path.iterdir()] == ["logs"]


@pytest.mark.parametrize("trains", [True, False])
def test_the_api_gets_the_sockets_and_each_worker_its_kinds_of_work_and_its_own_port_of_metrics(
    trains: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parts = list[Part]()
    monkeypatch.setenv("ICM_WORKER__METRICS_PORT", "9100")
    monkeypatch.setattr("icm.local_stack.stack.can_train", lambda: trains)
    monkeypatch.setattr("icm.local_stack.stack.Supervisor.run", lambda *_, **__: None)
    monkeypatch.setattr("icm.local_stack.stack.Supervisor.start", lambda _, part: parts.append(part))
    backends = [{"name": "default", "kind": "deterministic"}]
    options = StackOptions(
        data_folder=tmp_path, database_url="postgresql://db", backends=backends, port=9, workers=2, listeners=(7,)
    )
    with pytest.raises(Stopped), running(options, lambda: True, say=print):
        pass
    workers = [
        ("worker-1", ("--kinds", "label,deliver") if trains else (), "9100"),
        ("worker-2", ("--kinds", "label,deliver") if trains else (), "9101"),
        *([("trainer", ("--kinds", "train"), "9102")] if trains else []),
    ]
    api, *others = parts
    assert (api.name, api.descriptors, api.command[-2:]) == ("api", (7,), ("--fd", "7"))
    behind = others[0].command.index("workers") + 1
    ports = [part.environment["ICM_WORKER__METRICS_PORT"] for part in others]
    assert [(part.name, part.command[behind:]) for part in others] == [(name, words) for name, words, _ in workers]
    assert ports == [port for _, _, port in workers]
    assert not any(part.descriptors for part in others)


def test_each_adapter_of_our_own_inference_server_is_a_backend_of_its_name() -> None:
    options = StackOptions(data_folder=Path("d"), adapters={"claims": Path("a"), "reviews": Path("b")})
    backends = own_backends(options, "http://127.0.0.1:9")
    assert [(each["name"], each.get("adapter"), each["url"]) for each in backends] == [
        ("default", None, "http://127.0.0.1:9"),
        ("claims", "claims", "http://127.0.0.1:9"),
        ("reviews", "reviews", "http://127.0.0.1:9"),
    ]


def test_our_own_inference_server_is_waited_for_and_other_peoples_are_not() -> None:
    waiting = {"ICM_SERVER__READY_WITH_BACKEND": "true"}
    assert api_settings(StackOptions(data_folder=Path("d"))) == waiting
    assert api_settings(StackOptions(data_folder=Path("d"), backends=[{}])) == {}


def test_the_language_model_of_our_own_inference_server_may_be_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ICM_TRAINING__BASES", raising=False)
    for model, base in ((None, str(SMALL_MODEL)), ("gpt2", "gpt2")):
        found = training_bases(StackOptions(data_folder=Path("d"), language_model=model))
        assert json.loads(found["ICM_TRAINING__BASES"]) == {"default": base}
    none: list[dict[str, Any]] = [{"language_model": "model.gguf"}, {"backends": [{}]}]
    for options in none:
        assert training_bases(StackOptions(data_folder=Path("d"), **options)) == {}
    monkeypatch.setenv("ICM_TRAINING__BASES", "{}")
    assert training_bases(StackOptions(data_folder=Path("d"))) == {}


def test_the_url_is_one_that_callers_on_this_machine_can_use() -> None:
    assert StackOptions(data_folder=Path("d"), host="0.0.0.0", port=80).url == "http://127.0.0.1:80"  # noqa: S104 - compared
    assert StackOptions(data_folder=Path("d"), host="::", port=80).url == "http://[::1]:80"
    assert StackOptions(data_folder=Path("d"), host="::1", port=80).url == "http://[::1]:80"
    assert StackOptions(data_folder=Path("d"), host="10.0.0.7", port=80).url == "http://10.0.0.7:80"


def test_the_database_lies_in_a_data_folder_that_was_named(tmp_path: Path) -> None:
    assert StackOptions(data_folder=tmp_path).database_folder == tmp_path / "postgres"


def test_every_worker_of_a_stack_has_a_port_of_its_own_for_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICM_WORKER__METRICS_PORT", "9100")
    assert [metrics_port(number) for number in (1, 2, 3)] == [
        {"ICM_WORKER__METRICS_PORT": "9100"},
        {"ICM_WORKER__METRICS_PORT": "9101"},
        {"ICM_WORKER__METRICS_PORT": "9102"},
    ]


@pytest.mark.parametrize("port", ["", "0"])
def test_no_worker_serves_metrics_unless_a_port_is_set(port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICM_WORKER__METRICS_PORT", port)
    assert metrics_port(1) == metrics_port(2) == {}


class Loading:
    """An inference server that loads its language model: what it wrote last."""

    def __init__(self) -> None:
        self.line = ""

    def last_line(self, name: str) -> str:
        assert name == "inference"
        return self.line


def test_a_slow_start_of_the_language_model_is_explained_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now, loading, said = [100.0], Loading(), list[str]()
    monkeypatch.setattr("icm.local_stack.stack.time.monotonic", lambda: now[0])
    notice = LoadingNotice(loading, said.append)  # type: ignore[arg-type]  # it needs no more of a supervisor
    for line in ("", "", "converting the tokenizer", "converting the tokenizer", "reading the weights"):
        loading.line = line
        notice.when_due()
        now[0] += NOTICE_SECONDS
    assert [text.removeprefix("the inference server still loads the language model: ") for text in said] == [
        "its log says nothing yet",
        "converting the tokenizer",
        "reading the weights",
    ]
