"""The variables of docker-compose.yml and .env.example are settings that the code reads."""

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest
from pydantic import BaseModel

from inference.settings import read_settings
from service.scoring.kinds import OPTIONS, AnyBackend
from service.scoring.wires.tgi import TgiBackend
from service.scoring.wires.vllm import VllmBackend
from service.settings import Settings
from tests.compose.conftest import VARIABLE

Compose = Mapping[str, Any]
OURS = ("migrate", "api", "worker", "trainer", "trainer-gpu")
OF_THE_HUB = "HF_TOKEN"  # read by the library that downloads language models


@pytest.fixture
def backend(compose: Compose, monkeypatch: pytest.MonkeyPatch) -> AnyBackend:
    """The backend of the compose file, as a worker reads it."""
    monkeypatch.setenv("ICM_BACKENDS", compose["services"]["worker"]["environment"]["ICM_BACKENDS"])
    [found] = Settings().backends
    return found


@pytest.mark.parametrize("name", OURS)
def test_every_variable_given_to_a_process_is_a_setting(name: str, compose: Compose) -> None:
    for variable in compose["services"][name]["environment"]:
        assert variable in {*setting_names(), OF_THE_HUB}, variable


def test_every_setting_that_compose_does_not_decide_itself_is_passed_on(compose: Compose) -> None:
    given = set(compose["services"]["api"]["environment"])
    assert setting_names() - given <= {"ICM_DATABASE_URL", "ICM_DATA_DIR"}


def test_every_variable_of_the_compose_file_is_explained_and_no_other(
    written: str, compose: Compose, explained: Mapping[str, str]
) -> None:
    used = set(re.findall(r"\$\{(\w+)", written))
    passed_on = {key for key, value in compose["services"]["api"]["environment"].items() if value is None}
    secrets = {secret["environment"] for secret in compose["secrets"].values()}
    assert set(explained) == used | passed_on | secrets | {"COMPOSE_PROFILES"}


def test_defaults_in_the_example_are_those_of_the_compose_file(
    defaults: Mapping[str, str], explained: Mapping[str, str]
) -> None:
    assert {name: explained[name] for name in defaults} == defaults


def test_defaults_in_the_example_are_those_of_the_code(compose: Compose, explained: Mapping[str, str]) -> None:
    passed_on = {key for key, value in compose["services"]["api"]["environment"].items() if value is None}
    code = setting_defaults()
    assert {name: explained[name] for name in passed_on} == {name: str(code[name]) for name in passed_on}


@pytest.mark.parametrize("name", OURS)
def test_a_process_can_be_built_from_its_environment(
    name: str, compose: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in setting_names():
        monkeypatch.delenv(variable, raising=False)
    for variable, value in compose["services"][name]["environment"].items():
        if value is not None:
            monkeypatch.setenv(variable, value)
    settings = Settings()
    assert urlsplit(settings.database_url.get_secret_value()).hostname in compose["services"]
    assert [backend.name for backend in settings.backends] == ["default"]
    assert settings.log_format == "json"


@pytest.mark.parametrize("server", ["tgi", "vllm", "sglang", "llamacpp", "cpu"])
def test_the_backend_is_where_the_inference_server_listens(server: str, compose: Compose, backend: AnyBackend) -> None:
    address = urlsplit(backend.url)
    part = compose["services"][server]
    assert address.hostname in part["networks"]["default"]["aliases"]
    command = part["command"] if isinstance(part["command"], str) else " ".join(part["command"])
    assert str(address.port) in re.split(r"[ =]", command)
    assert f"127.0.0.1:{address.port}/health" in " ".join(part["healthcheck"]["test"])


def test_tgi_returns_as_many_tokens_as_the_service_may_ask_for(compose: Compose, backend: AnyBackend) -> None:
    assert isinstance(backend, TgiBackend)
    assert f"--max-top-n-tokens={backend.max_top_tokens}" in compose["services"]["tgi"]["command"]


@pytest.mark.parametrize("kind", ["tgi", "embedded", "vllm", "sglang", "llamacpp"])
def test_workers_can_speak_to_every_inference_server(kind: str, written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICM_BACKENDS", backends_with(written, BACKEND_KIND=kind))
    assert [backend.kind for backend in Settings().backends] == [kind]


def test_what_is_not_set_is_left_to_the_service(written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICM_BACKENDS", backends_with(written, BACKEND_KIND="vllm"))
    [backend] = Settings().backends
    assert isinstance(backend, VllmBackend)
    [code] = Settings.model_fields["backends"].default
    assert (backend.replicas, backend.model, backend.adapter_folder, backend.api_key) == ((), None, None, None)
    assert (backend.timeout_seconds, backend.patience_seconds) == (code.timeout_seconds, code.patience_seconds)


def test_servers_elsewhere_are_reached_by_variables_alone(written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = {
        "BACKEND_URL": "http://gpu-1:8000",
        "BACKEND_REPLICAS": '["http://gpu-2:8000", "http://gpu-3:8000"]',
        "BACKEND_KIND": "vllm",
        "BACKEND_MODEL": "base",
        "BACKEND_ADAPTER_FOLDER": "/mnt/adapters",
        "BACKEND_API_KEY": "secret",
        "BACKEND_TIMEOUT_SECONDS": "30",
        "BACKEND_PATIENCE_SECONDS": "600",
    }
    monkeypatch.setenv("ICM_BACKENDS", backends_with(written, **chosen))
    [backend] = Settings().backends
    assert isinstance(backend, VllmBackend)
    assert backend.api_key is not None
    assert {
        "BACKEND_URL": backend.url,
        "BACKEND_REPLICAS": json.dumps(backend.replicas),
        "BACKEND_KIND": backend.kind,
        "BACKEND_MODEL": backend.model,
        "BACKEND_ADAPTER_FOLDER": backend.adapter_folder,
        "BACKEND_API_KEY": backend.api_key.get_secret_value(),
        "BACKEND_TIMEOUT_SECONDS": f"{backend.timeout_seconds:.0f}",
        "BACKEND_PATIENCE_SECONDS": f"{backend.patience_seconds:.0f}",
    } == chosen


def test_every_setting_of_a_backend_can_be_reached(written: str) -> None:
    assert set(json.loads(backends_with(written))[0]) == OPTIONS


def test_a_key_is_not_shown_where_settings_are_printed(written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICM_BACKENDS", backends_with(written, BACKEND_API_KEY="secret"))
    assert "secret" not in repr(Settings())


def test_the_embedded_server_understands_its_command_line(compose: Compose, backend: AnyBackend) -> None:
    assert isinstance(backend, TgiBackend)
    settings = read_settings(compose["services"]["cpu"]["command"][3:])
    assert settings.port == urlsplit(backend.url).port
    assert settings.max_top_n_tokens >= backend.max_top_tokens


@pytest.mark.parametrize("server", ["tgi", "cpu"])
def test_the_inference_server_admits_as_many_requests_as_all_processes_may_send(
    server: str, compose: Compose, backend: AnyBackend
) -> None:
    processes = int(compose["services"]["worker"]["deploy"]["replicas"]) + 1
    [admitted] = re.findall(r"--max-concurrent-requests=(\d+)", " ".join(compose["services"][server]["command"]))
    assert int(admitted) >= processes * backend.concurrency


def backends_with(written: str, **chosen: str) -> str:
    """The value of ICM_BACKENDS as Compose makes it, with some variables set."""
    [backends] = re.findall(r"ICM_BACKENDS: >-\n((?: .*\n)+?) *(?=ICM_|\w)", written)
    return VARIABLE.sub(lambda found: chosen.get(found["name"], found["word"]), backends)


def setting_names() -> set[str]:
    """Every environment variable that the service reads."""
    return {*setting_defaults(), "DATABASE_URL"}


def setting_defaults() -> dict[str, object]:
    """The defaults of the settings by the name of their environment variable."""
    defaults = dict[str, object]()
    for name, value in Settings.model_construct():
        if isinstance(value, BaseModel):
            defaults |= {f"ICM_{name}__{key}".upper(): inner for key, inner in value}
        else:
            defaults[f"ICM_{name}".upper()] = value
    return defaults
