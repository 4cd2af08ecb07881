"""Policies: trained against a reward model, stopped and resumed like any training, and warned of where they cheat."""

import json
import signal
from multiprocessing.context import ForkServerContext
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.training.conftest import Finished
from tests.training.running import refused, run
from tests.training.test_interruptions import ended_at
from tests.training.test_run import adapter_bytes, read
from tests.training.written import number, pairs, reward_spec, write_rows, write_spec

pytestmark = pytest.mark.timeout(300)  # processes are loaded, which takes long where many are

NO_LABELS: dict[str, Any] = {"labels": [], "separator": ""}


def prompts(count: int) -> list[dict[str, Any]]:
    rng = Random(1)
    return [{"prompt": f"{number(rng.randrange(51, 100)).capitalize()} is larger than"} for _ in range(count)]


def turned(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"chosen": row["rejected"], "rejected": row["chosen"]} for row in rows]


@pytest.fixture(scope="session")
def judges(reward_model: Finished, forks: ForkServerContext, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with two finished reward models, `reward` and `judge`; they prefer opposite texts."""
    folder = tmp_path_factory.mktemp("judges")
    (folder / "reward").symlink_to(reward_model.out)
    status, training = run(forks, reward_spec(folder / "judge-spec", turned(pairs(32)), rank=4), folder / "judge")
    assert status == 0, training.errors.read_text("utf-8")
    return folder


def spec_of(folder: Path, judges: Path, policy: dict[str, Any] | None = None, **fields: Any) -> Path:
    """Four steps in two epochs."""
    named = {"reward": str(judges / "reward"), "judge": str(judges / "judge"), "stop": "\n", "completion_tokens": 6}
    settings = {"batch_rows": 4, "learning_rate": 0.003, "checkpoint_steps": 1, "holdout": 1 / 3, **fields}
    return write_spec(folder, prompts(12), kind="policy", policy={**named, **(policy or {})}, **NO_LABELS, **settings)


@pytest.fixture(scope="session")
def whole(forks: ForkServerContext, judges: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An uninterrupted training of a policy: its folder, and what it wrote."""
    folder = tmp_path_factory.mktemp("policy")
    status, training = run(forks, spec_of(folder, judges), folder / "out")
    assert status == 0, training.errors.read_text("utf-8")
    return folder / "out", training


def test_the_training_reports_reward_and_kl_of_each_step_and_uses_no_network(whole: Any) -> None:
    _, training = whole
    assert training.connections == ""
    steps = training.events("step")
    assert [step["step"] for step in steps] == [1, 2, 3, 4]
    assert steps[0]["kl_nats"] == pytest.approx(0, abs=1e-4)  # before the first change it is the base
    assert all(isinstance(step["reward"], float) and 1 <= step["completion_tokens"] <= 6 for step in steps)


def test_the_training_leaves_an_adapter_in_safetensors_and_no_path(whole: Any, judges: Path) -> None:
    out, _ = whole
    assert sorted(adapter_bytes(out)) == ["adapter_config.json", "adapter_model.safetensors"]
    documents = json.dumps([read(path) for path in out.glob("*.json")])
    assert str(judges) not in documents
    assert str(out) not in documents
    judge = read(judges / "reward/manifest.json")["artifact"]
    assert read(out / "manifest.json")["examples"]["reward"] == judge["sha256"]


def test_the_report_has_curves_and_both_reward_models_judge_the_same_completions(whole: Any) -> None:
    out, _ = whole
    report = read(out / "report.json")
    assert [step for step, _ in report["training"]["curves"]["kl_nats"]] == [1, 2, 3, 4]
    assert [one["epoch"] for one in report["training"]["epochs"]] == [1.0, 2.0]
    after = report["after"]
    assert after["rows"] == 4
    assert after["reward"]["before"] == pytest.approx(report["before"]["held_out"]["reward"], abs=1e-4)
    assert 0 <= after["win_rate"] <= 1
    assert after["judge"]["before"] != after["reward"]["before"]
    assert {"prompt", "base", "policy"} == set(after["samples"][0])


@pytest.mark.parametrize("end", [(1, signal.SIGTERM), pytest.param((3, signal.SIGKILL), marks=pytest.mark.long)])
def test_a_training_stopped_or_killed_in_either_epoch_resumes_to_the_same_bytes(
    end: tuple[int, int], whole: Any, forks: ForkServerContext, judges: Path, tmp_path: Path
) -> None:
    out, _ = whole
    spec = spec_of(tmp_path, judges)
    ended_at(forks, spec, tmp_path / "out", *end)
    status, training = run(forks, spec, tmp_path / "out")
    assert status == 0, training.errors.read_text("utf-8")
    assert training.events("start")[0]["step"] >= end[0] - 1
    assert adapter_bytes(tmp_path / "out") == adapter_bytes(out)
    ours, theirs = (read(folder / "report.json") for folder in (tmp_path / "out", out))
    assert ours["training"]["curves"] == theirs["training"]["curves"]
    assert ours["after"] == theirs["after"]


def test_no_policy_within_the_kl_limit_is_published(forks: ForkServerContext, judges: Path, tmp_path: Path) -> None:
    spec = spec_of(tmp_path, judges, {"kl_limit": 1e-9}, epochs=1, learning_rate=0.05)
    status, training = run(forks, spec, tmp_path / "out")
    assert status == 1
    assert "policy.kl_limit" in training.events("end")[0]["reason"]
    assert training.events("ended_early")
    assert not (tmp_path / "out/adapter").exists()


def test_a_prompt_without_room_for_its_completion_is_refused_by_line(judges: Path, tmp_path: Path) -> None:
    spec = spec_of(tmp_path, judges, {"completion_tokens": 4000})
    write_rows(tmp_path / "rows.jsonl", [{"prompt": "a"}, {"prompt": "one " * 100}])
    status, end = refused(spec, tmp_path / "out")
    assert status == 2
    assert "examples, line 2: prompt: takes" in end["reason"]


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ({"stop": "larger than"}, "tokens to this base; take a text of one token"),
        ({"reward": "nowhere"}, "policy.reward: 'nowhere' holds no finished training"),
        ({"judge": None}, "batch_rows: a step reads 16 prompts, and 8 are left to train on"),
    ],
)
def test_unusable_settings_are_refused_before_anything_is_trained(
    policy: dict[str, Any], reason: str, judges: Path, tmp_path: Path
) -> None:
    batch = {"batch_rows": 16} if "judge" in policy else {}
    status, end = refused(spec_of(tmp_path, judges, policy, **batch), tmp_path / "out")
    assert status == 2
    assert reason in end["reason"]


def test_the_reward_model_is_no_judge_of_its_own_work(judges: Path, tmp_path: Path) -> None:
    status, end = refused(spec_of(tmp_path, judges, {"judge": str(judges / "reward")}), tmp_path / "out")
    assert status == 2
    assert "policy.judge: is the reward model itself" in end["reason"]


def test_a_training_of_another_kind_is_no_reward_model(whole: Any, judges: Path, tmp_path: Path) -> None:
    out, _ = whole
    status, end = refused(spec_of(tmp_path, judges, {"reward": str(out)}), tmp_path / "out")
    assert status == 2
    assert "holds a training of kind policy; name one of kind reward" in end["reason"]


def test_a_reward_model_that_was_changed_is_refused(judges: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copied"
    (copied / "adapter").mkdir(parents=True)
    (copied / "manifest.json").write_bytes((judges / "reward/manifest.json").read_bytes())
    (copied / "adapter/adapter_config.json").write_text("{}")
    status, end = refused(spec_of(tmp_path / "spec", judges, {"reward": str(copied)}), tmp_path / "out")
    assert status == 2
    assert "is not as it was written" in end["reason"]


def test_another_reward_model_is_another_training(whole: Any, judges: Path, tmp_path: Path) -> None:
    out, _ = whole
    swapped = {"reward": str(judges / "judge"), "judge": str(judges / "reward")}
    status, end = refused(spec_of(tmp_path, judges, swapped), out)
    assert status == 2
    assert "policy.judge, policy.reward" in end["reason"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"policy": None}, "policy: is missing; it names the reward model"),
        ({"method": "full"}, "method: lora is the only one for kind policy"),
        ({"controls": ["shuffled"]}, "controls: there are none for kind policy"),
        ({"holdout": 0}, "holdout: kind policy is measured on held-out prompts"),
        ({"labels": ["a", "b"]}, "labels: leave labels, separator and spellings out for kind policy"),
        ({"kind": "reward"}, "policy: is for kind policy alone"),
        ({"policy": {"reward": "r", "kl_weight": 0}}, "policy.kl_weight"),
        ({"policy": {"reward": "r", "beta": 1}}, "policy.beta: there is no such field"),
    ],
)
def test_a_specification_that_does_not_fit_is_refused_by_field(
    fields: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    given = {"kind": "policy", "policy": {"reward": "r"}, **NO_LABELS, **fields}
    status, end = refused(write_spec(tmp_path, prompts(12), **given), tmp_path / "out")
    assert status == 2
    assert reason in end["reason"]
