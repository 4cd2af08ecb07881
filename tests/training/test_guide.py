"""The command takes the arguments of docs/training.md, and its exit statuses are those of the errors."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from inference.settings import read_settings
from training.command import read_arguments
from training.errors import BaseUnusable, Refused, Stopped

GUIDE = (Path(__file__).parents[2] / "docs/training.md").read_text("utf-8")
COMMANDS = re.findall(r"-m training (run \S+ --out \S+)", GUIDE)


@pytest.fixture(scope="module")
def job() -> Any:
    [text] = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    return yaml.safe_load(text)


def test_every_command_of_the_guide_is_taken() -> None:
    assert len(COMMANDS) >= 5
    for command in COMMANDS:
        given = read_arguments(command.split())
        assert given.spec.suffix == ".json"


def test_every_server_of_the_guide_is_launched_with_adapters_by_name() -> None:
    servers = re.findall(r"-m inference (--.+?)(?:\s+#.*)?$", GUIDE, re.MULTILINE)
    assert len(servers) >= 2
    for server in servers:
        [(name, folder)] = read_settings(server.split()).adapter
        assert (name, folder.name) in {("claims", "adapter"), ("policy", "policy")}


def test_the_job_of_kubernetes_runs_the_command_on_a_volume_that_outlives_the_pod(job: Any) -> None:
    [container] = job["spec"]["template"]["spec"]["containers"]
    assert container["command"][:3] == ["python", "-m", "training"]
    given = read_arguments(container["command"][3:])
    [mount] = container["volumeMounts"]
    assert str(given.out).startswith(mount["mountPath"])
    [volume] = job["spec"]["template"]["spec"]["volumes"]
    assert (volume["name"], "persistentVolumeClaim" in volume) == (mount["name"], True)


def test_a_stopped_job_is_restarted_and_a_failed_one_is_not(job: Any) -> None:
    rules = job["spec"]["podFailurePolicy"]["rules"]
    values = {rule["action"]: rule["onExitCodes"]["values"] for rule in rules if "onExitCodes" in rule}
    assert values == {"Ignore": [Stopped.exit_code], "FailJob": [Refused.exit_code, BaseUnusable.exit_code]}
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"  # Kubernetes demands it beside such rules
    assert f"$status -eq {Stopped.exit_code} " in GUIDE
