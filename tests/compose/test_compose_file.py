"""docker-compose.yml is valid, and every name in it exists where it points to."""

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from service.settings import Settings

Compose = Mapping[str, Any]
ON_A_GPU = {"tgi", "vllm", "sglang", "llamacpp"}
SERVERS = {*ON_A_GPU, "cpu"}
WATCHING = {"prometheus", "grafana"}
TRAINERS = {"trainer": "training", "trainer-gpu": "training-gpu"}  # with their profiles


@pytest.fixture(scope="session")
def schema(root: Path) -> Mapping[str, Any]:
    loaded: Mapping[str, Any] = json.loads((root / "tests/compose/schema/compose-spec.json").read_text("utf-8"))
    return loaded


def test_the_file_as_written_keeps_the_compose_specification(written: str, schema: Mapping[str, Any]) -> None:
    jsonschema.Draft202012Validator(schema).validate(yaml.safe_load(written))


def test_the_file_with_values_filled_in_keeps_the_compose_specification(
    compose: Compose, schema: Mapping[str, Any]
) -> None:
    jsonschema.Draft202012Validator(schema).validate(compose)


class _OnceEach(yaml.SafeLoader):
    """Refuses a key that stands twice in one mapping, as Compose does; PyYAML takes the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        own = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        if len(set(own)) < len(own):
            raise yaml.constructor.ConstructorError(None, None, f"a key stands twice among {own}", node.start_mark)
        return dict(super().construct_mapping(node, deep))


def test_no_key_stands_twice_in_a_mapping(written: str) -> None:
    assert yaml.load(written, _OnceEach) == yaml.safe_load(written)  # noqa: S506 - a safe loader
    with pytest.raises(yaml.constructor.ConstructorError, match="twice"):
        yaml.load("{a: {b: 1, b: 2}}", _OnceEach)  # noqa: S506 - a safe loader


def test_a_file_with_a_misspelt_key_would_be_refused(compose: Compose, schema: Mapping[str, Any]) -> None:
    broken = {**compose, "services": {"api": {"image": "icm", "healthchek": {}}}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema).validate(broken)


def test_every_part_of_the_service_is_there(compose: Compose) -> None:
    assert set(compose["services"]) == {"postgres", "migrate", "api", "worker", *SERVERS, *WATCHING, *TRAINERS}


def test_inference_servers_monitoring_and_training_are_profiles_and_everything_else_always_runs(
    compose: Compose,
) -> None:
    profiles = {name: part["profiles"] for name, part in compose["services"].items() if "profiles" in part}
    wanted = dict.fromkeys(WATCHING, "monitoring") | {server: server for server in SERVERS} | TRAINERS
    assert profiles == {part: [profile] for part, profile in wanted.items()}


def test_the_example_starts_the_gpu_profile(decided: Mapping[str, str]) -> None:
    assert decided["COMPOSE_PROFILES"] == "tgi"


def test_gpu_profiles_reserve_a_gpu_and_the_cpu_profile_none(compose: Compose) -> None:
    reserving = {
        name
        for name, part in compose["services"].items()
        for device in part.get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices", [])
        if device["capabilities"] == ["gpu"]
    }
    assert reserving == {*ON_A_GPU, "trainer-gpu"}


def test_every_inference_server_answers_to_the_same_host_name(compose: Compose) -> None:
    networks = {name: part["networks"] for name, part in compose["services"].items() if "networks" in part}
    names = dict.fromkeys(SERVERS, "inference") | dict.fromkeys(TRAINERS, "trainer")
    assert networks == {part: {"default": {"aliases": [name]}} for part, name in names.items()}


def test_weights_are_kept_where_a_server_downloads_them(compose: Compose) -> None:
    for server in SERVERS:
        assert "HF_TOKEN" in compose["services"][server]["environment"]
        [volume] = compose["services"][server]["volumes"]
        assert volume.partition(":")[0] == f"{server}-weights"


@pytest.mark.parametrize(
    ("server", "needed"),
    [
        ("tgi", ["--max-top-n-tokens"]),
        ("vllm", ["--enable-prefix-caching", "--enable-prompt-tokens-details"]),
        ("sglang", ["--schedule-policy=lpm"]),
        ("llamacpp", ["--cache-prompt", "--parallel"]),
    ],
)
def test_servers_are_launched_with_what_the_probe_would_ask_for(
    server: str, needed: list[str], compose: Compose
) -> None:
    command = words(compose["services"][server]["command"])
    for flag in needed:
        assert any(word == flag or word.startswith(f"{flag}=") for word in command), flag
    assert not {"--disable-radix-cache", "--enable-mis", "--no-enable-prefix-caching"} & set(command)


def test_the_profile_that_goes_with_a_kind_is_written_at_the_head_of_the_file(root: Path) -> None:
    head = (root / "docker-compose.yml").read_text("utf-8").partition("\nname:")[0]
    for profile in (*SERVERS, *TRAINERS.values(), "monitoring"):
        assert f"\n#   {profile} " in head


def test_parts_wait_for_parts_that_exist_and_for_health_only_where_it_is_checked(compose: Compose) -> None:
    services = compose["services"]
    for awaited, condition in dependencies(compose):
        assert awaited in services
        if condition["condition"] == "service_healthy":
            assert "healthcheck" in services[awaited]


def test_nothing_that_may_be_absent_is_waited_for_without_saying_so(compose: Compose) -> None:
    optional = {awaited for awaited, condition in dependencies(compose) if condition.get("required") is False}
    profiled = {awaited for awaited, _ in dependencies(compose) if "profiles" in compose["services"][awaited]}
    assert optional == profiled


def test_the_schema_is_migrated_once_before_the_api_and_workers_start(compose: Compose) -> None:
    services = compose["services"]
    assert services["migrate"]["restart"] == "no"
    for name in ("api", "worker", *TRAINERS):
        assert services[name]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"


@pytest.mark.parametrize("trainer", TRAINERS)
def test_api_and_trainers_find_files_of_trainings_in_one_volume(trainer: str, compose: Compose) -> None:
    services = compose["services"]
    data, weights = services[trainer]["volumes"]
    assert data in services["api"]["volumes"]
    assert weights == "trainer-weights:/home/icm/.cache/huggingface"
    settings = Settings.model_construct()
    volume, _, place = data.partition(":")
    assert (volume, Path(place)) == ("service-data", Path("/home/icm") / settings.data_dir)
    assert not Path(settings.artifacts_place).is_absolute()


def test_mounted_volumes_are_declared_and_declared_ones_mounted(compose: Compose) -> None:
    mounted = {mount.partition(":")[0] for part in compose["services"].values() for mount in part.get("volumes", [])}
    assert mounted == set(compose["volumes"])


def test_files_that_containers_are_given_exist_and_each_is_given_to_one(compose: Compose, root: Path) -> None:
    given = [config["source"] for part in compose["services"].values() for config in part.get("configs", [])]
    assert sorted(given) == sorted(compose["configs"])
    for config in compose["configs"].values():
        assert (root / config["file"]).is_file(), config["file"]
    assert {path.name for path in (root / "monitoring").rglob("*.*")} == {
        Path(config["file"]).name for config in compose["configs"].values()
    }


def test_prometheus_asks_where_api_and_workers_serve_their_metrics(compose: Compose, root: Path) -> None:
    scraped = yaml.safe_load((root / "monitoring/prometheus.yml").read_text("utf-8"))
    api, worker, trainer = scraped["scrape_configs"]
    environment = compose["services"]["worker"]["environment"]
    assert api["static_configs"] == [{"targets": [f"api:{compose['services']['api']['environment']['ICM_PORT']}"]}]
    for job, name in ((worker, "worker"), (trainer, "trainer")):
        port = int(environment["ICM_WORKER__METRICS_PORT"])
        assert job["dns_sd_configs"] == [{"names": [name], "type": "A", "port": port}]
    assert environment["ICM_WORKER__METRICS_HOST"] == "0.0.0.0"  # noqa: S104  # inside the network of the containers
    [secret] = compose["services"]["prometheus"]["secrets"]
    assert api["authorization"] == {"credentials_file": f"/run/secrets/{secret}"}
    mounted = {config["target"] for config in compose["services"]["prometheus"]["configs"]}
    assert set(scraped["rule_files"]) < mounted


def test_grafana_finds_its_data_source_and_dashboards_where_they_are_mounted(compose: Compose, root: Path) -> None:
    [source] = yaml.safe_load((root / "monitoring/grafana/datasource.yml").read_text("utf-8"))["datasources"]
    assert source["url"] == "http://prometheus:9090"
    [provider] = yaml.safe_load((root / "monitoring/grafana/dashboards.yml").read_text("utf-8"))["providers"]
    mounted = [config["target"] for config in compose["services"]["grafana"]["configs"]]
    assert any(target.startswith(f"{provider['options']['path']}/") for target in mounted)


def test_parts_without_a_password_are_published_on_this_machine_alone(compose: Compose) -> None:
    for part in WATCHING:
        for port in compose["services"][part]["ports"]:
            assert port.startswith("127.0.0.1:")


def test_images_are_pinned_to_a_version(compose: Compose) -> None:
    for part in compose["services"].values():
        _, _, tag = part["image"].partition(":")
        assert tag not in {"", "latest"}


def words(command: str | list[str]) -> list[str]:
    return shlex.split(command) if isinstance(command, str) else command


def dependencies(compose: Compose) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for part in compose["services"].values():
        yield from part.get("depends_on", {}).items()
