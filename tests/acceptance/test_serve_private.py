"""Private services with the embedded inference server and the small model that ships: `icm label` and the demo."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.acceptance.served import ICM, all_gone, data_folder, icm, until

pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).parents[2]
# Shells start background jobs with Ctrl-C ignored, and tests may run in one.
LISTENING_TO_CTRL_C = """
import signal
from icm.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""
CONFIG = {
    "task": {
        "template": "{n1} is larger than {n2}\nI think this claim is",
        "labels": ["True", "False"],
        "gold_field": "gold",
        "relations": [{"kind": "antisymmetric", "first": "n1", "second": "n2"}],
    },
    "search": {"restarts": 1, "sweeps": 1},
}


@pytest.fixture
def temporary() -> Iterator[Path]:
    """Where private services put what they need meanwhile."""
    with data_folder() as folder:
        folder.mkdir()
        yield folder


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """`icm label` of 16 comparisons."""
    pairs = [(number, 97 - 2 * number) for number in range(8)]
    rows = [{"n1": a, "n2": b, "gold": a > b} for pair in pairs for a, b in (pair, pair[::-1])]
    data, config = tmp_path / "pairs.jsonl", tmp_path / "config.json"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config.write_text(json.dumps(CONFIG))
    return [*ICM, "label", str(data), "-o", str(tmp_path / "labelled.jsonl"), "--config", str(config), "--json"]


@pytest.mark.long
def test_an_adapter_of_another_base_is_refused_before_database_and_api_start(tmp_path: Path) -> None:
    adapter, data = tmp_path / "adapter", tmp_path / "data"
    adapter.mkdir()
    named = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "revision": "0" * 64}
    (adapter / "adapter_config.json").write_text(json.dumps(named))
    done = icm("serve", "--port", "0", "--data-dir", data, "--adapter", f"claims={adapter}")
    assert done.returncode == 2, done.stderr
    assert f"the adapter 'claims' in '{adapter}' cannot be served: it was trained on another base" in done.stderr
    assert [path.name for path in (data / "logs").iterdir()] == ["inference.log"]
    assert not (data / "postgres").exists()


def environment(temporary: Path) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "ICM_URL"} | {"TMPDIR": str(temporary)}


def test_without_a_url_a_private_service_labels_and_leaves_no_files(
    command: list[str], temporary: Path, tmp_path: Path
) -> None:
    done = subprocess.run(command, env=environment(temporary), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["job"]["progress"]["labeled"] == 16
    assert document["report"]["accuracy"] is not None
    labelled = [json.loads(line) for line in (tmp_path / "labelled.jsonl").read_text().splitlines()]
    assert {row["icm_label"] for row in labelled} <= {"True", "False"}
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("how", "expected"),
    [pytest.param(signal.SIGINT, 130, marks=pytest.mark.long), (signal.SIGKILL, -9)],
    ids=["interrupted", "killed"],
)
def test_an_interrupted_labelling_leaves_no_files(
    command: list[str], temporary: Path, how: signal.Signals, expected: int
) -> None:
    command = [sys.executable, "-c", LISTENING_TO_CTRL_C, *command[len(ICM) :]]
    with subprocess.Popen(command, env=environment(temporary), stdout=subprocess.PIPE) as labelling:
        own = psutil.Process(labelling.pid)
        assert until(lambda: len(own.children(recursive=True)) >= 4)
        parts = own.children(recursive=True)
        labelling.send_signal(how)
        assert labelling.wait(60) == expected
        assert all_gone(parts)
    assert until(lambda: list(temporary.iterdir()) == [])


@pytest.mark.long
def test_the_demo_labels_as_gold_says_which_the_search_never_saw(temporary: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "examples.demo", "--out", str(tmp_path)],
        env=environment(temporary),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    by_icm, alone = (agreement(tmp_path / f"demo-{method}.jsonl") for method in ("icm", "zero-shot"))
    assert len(by_icm) >= 256
    assert sum(by_icm) / len(by_icm) >= 0.95
    assert sum(by_icm) > sum(alone)
    assert "verdict of the report" in done.stdout
    assert list(temporary.iterdir()) == []


def agreement(labelled: Path) -> list[bool]:
    """For every row, whether its label is the gold label."""
    rows = [json.loads(line) for line in labelled.read_text().splitlines()]
    return [row["icm_label"] == str(row["gold"]) for row in rows]
