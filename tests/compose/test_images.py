"""The Dockerfile builds from what is in the repository, and compose runs what the images hold."""

import importlib.util
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.records.work import WorkKind
from workers.__main__ import parsed_kinds

Compose = Mapping[str, Any]
Instruction = tuple[str, str]  # its word and its arguments
SERVED = {"api": "8000", "cpu": "8080"}


@pytest.fixture(scope="session")
def stages(root: Path) -> Mapping[str, list[Instruction]]:
    """The instructions of each build stage, by the stage's name."""
    parsed = dict[str, list[Instruction]]()
    name = ""
    for word, arguments in instructions((root / "Dockerfile").read_text("utf-8")):
        if word == "FROM":
            base, _, name = arguments.partition(" AS ")
            parsed[name] = [(word, base)]
        else:
            parsed[name].append((word, arguments))
    return parsed


def test_stages_build_on_stages_that_exist_or_on_a_pinned_image(stages: Mapping[str, list[Instruction]]) -> None:
    bases = [arguments for stage in stages.values() for word, arguments in stage if word == "FROM"]
    copied = [source for stage in stages.values() for source in re.findall(r"--from=(\S+)", text_of(stage))]
    assert set(copied) <= set(stages)
    assert {base for base in bases if base not in stages} == {"python:3.11-slim"}


def test_everything_copied_is_in_the_build_context(root: Path, stages: Mapping[str, list[Instruction]]) -> None:
    admitted = (root / ".dockerignore").read_text("utf-8").splitlines()
    for source in copied_sources(stages):
        assert (root / source).exists(), source
        assert f"!{source}" in admitted, source


def test_every_file_of_the_build_context_is_used(root: Path, stages: Mapping[str, list[Instruction]]) -> None:
    admitted = {line[1:] for line in (root / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")}
    assert admitted == set(copied_sources(stages))


def test_targets_that_compose_builds_are_stages(compose: Compose, stages: Mapping[str, list[Instruction]]) -> None:
    targets = {part["build"]["target"] for part in compose["services"].values() if "build" in part}
    assert targets == {"service", "inference", "training"}
    assert targets <= set(stages)


def test_only_the_images_for_inference_and_training_have_torch(stages: Mapping[str, list[Instruction]]) -> None:
    for name in ("build-inference", "build-training"):
        assert "torch" in text_of(stages[name])
    for name in ("base", "build", "build-service", "service"):
        assert "torch" not in text_of(stages[name])
        assert "COPY inference" not in text_of(stages[name])


def test_the_image_for_training_has_all_that_workers_and_the_training_command_need(
    stages: Mapping[str, list[Instruction]], compose: Compose
) -> None:
    built = text_of(stages["build-training"])
    [extras] = re.findall(r"'\.\[([\w,]+)\]'", built)
    assert {"telemetry", "training"} == set(extras.split(","))
    assert {f"COPY {package} {package}" for package in ("service", "workers", "inference", "training")} <= set(
        built.splitlines()
    )
    for name in ("trainer", "trainer-gpu"):
        *_, switch, kinds = compose["services"][name]["command"]
        assert (switch, parsed_kinds(kinds)) == ("--kinds", (WorkKind.TRAIN,))


@pytest.mark.parametrize("target", ["service", "training"])
def test_the_data_folder_belongs_to_the_user_before_a_volume_is_mounted_over_it(
    target: str, stages: Mapping[str, list[Instruction]]
) -> None:
    made = [arguments for word, arguments in stages[target] if word == "RUN"]
    assert any("--owner=icm" in command and "/home/icm/data" in command.split() for command in made)


@pytest.mark.parametrize("target", ["service", "inference", "training"])
def test_images_run_as_an_ordinary_user(target: str, stages: Mapping[str, list[Instruction]]) -> None:
    assert ("USER", "icm") in stages[target]


@pytest.mark.parametrize("name", ["migrate", "api", "worker", "cpu", "trainer", "trainer-gpu"])
def test_commands_start_a_module_that_its_image_holds(
    name: str, compose: Compose, stages: Mapping[str, list[Instruction]]
) -> None:
    part = compose["services"][name]
    python, switch, module, *_ = part["command"]
    assert (python, switch) == ("python", "-m")
    assert importlib.util.find_spec(f"{module}.__main__") is not None
    assert ("COPY", f"{module} {module}") in stages[f"build-{part['build']['target']}"]


@pytest.mark.parametrize(("name", "port"), SERVED.items())
def test_images_expose_the_port_that_is_asked_for_health(
    name: str, port: str, compose: Compose, stages: Mapping[str, list[Instruction]]
) -> None:
    part = compose["services"][name]
    assert ("EXPOSE", port) in stages[part["build"]["target"]]
    assert f"http://127.0.0.1:{port}/health" in part["healthcheck"]["test"][-1]
    assert httpx.URL(re.findall(r'"(http\S+)"', part["healthcheck"]["test"][-1])[0]).port == int(port)


def test_the_api_listens_on_the_port_that_is_published(compose: Compose) -> None:
    [published] = compose["services"]["api"]["ports"]
    environment = compose["services"]["api"]["environment"]
    assert published.rpartition(":")[2] == environment["ICM_PORT"]
    assert environment["ICM_HOST"] == "0.0.0.0"  # noqa: S104  # inside the container


@pytest.mark.parametrize("name", ["api", "vllm", "sglang", "cpu"])
def test_health_checks_in_python_compile(name: str, compose: Compose) -> None:
    command, _, switch, script = compose["services"][name]["healthcheck"]["test"]
    assert (command, switch) == ("CMD", "-c")
    compile(script, name, "exec")


def instructions(dockerfile: str) -> Iterator[Instruction]:
    """The instructions in order, continued lines joined, comments left out."""
    lines = [line for line in dockerfile.splitlines() if line and not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        word, _, arguments = line.partition(" ")
        yield word, " ".join(arguments.split())


def copied_sources(stages: Mapping[str, list[Instruction]]) -> list[str]:
    """What is copied from the build context."""
    copies = [arguments for stage in stages.values() for word, arguments in stage if word == "COPY"]
    return [source for arguments in copies if "--from=" not in arguments for source in arguments.split()[:-1]]


def text_of(stage: list[Instruction]) -> str:
    return "\n".join(f"{word} {arguments}" for word, arguments in stage)
