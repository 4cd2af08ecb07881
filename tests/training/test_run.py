"""What a training writes and reports, and what it does in the folder of an earlier one."""

import io
import json
import shutil
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from inference.model.language_model import fingerprint
from inference.settings import SMALL_MODEL
from service.records.trainings import BaseIdentity
from service.training_process.bases import identity_of
from tests.training.conftest import Finished
from tests.training.running import refused, run, start
from tests.training.written import comparisons, write_spec
from training.base import find_base
from training.data.examples import read_examples
from training.data.holdout import split
from training.kinds import label_training
from training.optimisation.bench import Bench
from training.progress import Progress
from training.spec import read_spec
from training.supervision import StopRequest

pytestmark = pytest.mark.timeout(300)  # processes are loaded, which takes long where many are


def read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def adapter_bytes(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (out / "adapter").iterdir()}


def bench_of(file: Path) -> Bench:
    """The resources of a run by this specification, in this process."""
    spec = read_spec(file)
    base, out = find_base(spec.base, file.parent), file.parent / "out"
    return Bench(spec, base, torch.device("cpu"), file.parent, out, Progress(io.StringIO()), StopRequest())


def test_the_labels_are_learned(finished: Finished) -> None:
    report = read(finished.out / "report.json")
    before, after = report["before"]["zero_shot"], report["training"]["epochs"][-1]["held_out"]
    assert before["agreement"] < 0.7
    assert after["agreement"] > 0.9
    assert after["nats"] < before["nats"] / 2
    assert report["rows"]["trained"], report["rows"]["held_out"] == (48, 16)


def test_standard_output_has_the_progress_and_nothing_else(finished: Finished) -> None:
    events = finished.training.events()
    assert [event["step"] for event in events if event["event"] == "step" and event["stage"] == "training"] == [
        *range(1, 13)
    ]
    step = next(event for event in events if event["event"] == "step")
    assert {"loss", "learning_rate", "tokens_per_second", "seconds_left", "steps", "epoch"} <= step.keys()
    assert [event["epoch"] for event in events if event["event"] == "evaluation"][:3] == [0, 1, 2]
    assert {event["step"] for event in events if event["event"] == "checkpoint"} >= {2, 4, 6, 8, 10, 12}
    assert events[-1] == {
        "event": "end",
        "outcome": "finished",
        "artifact": "adapter",
        "sha256": read(finished.out / "manifest.json")["artifact"]["sha256"],
    }


def test_no_pickle_no_path_and_no_checkpoint_is_left(finished: Finished) -> None:
    assert sorted(adapter_bytes(finished.out)) == ["adapter_config.json", "adapter_model.safetensors"]
    for path in (file for file in finished.out.rglob("*") if file.suffix == ".json"):
        assert "/" not in path.read_text("utf-8").replace("\\n", ""), path
    with safe_open(finished.out / "adapter/adapter_model.safetensors", "pt") as weights:
        assert all("lora_" in name for name in weights.keys())  # noqa: SIM118 - no dictionary
    assert not (finished.out / "checkpoints").exists()


def test_the_base_is_named_by_name_and_fingerprint(finished: Finished) -> None:
    config, manifest = read(finished.out / "adapter/adapter_config.json"), read(finished.out / "manifest.json")
    assert (config["base_model_name_or_path"], config["revision"]) == ("small_model", fingerprint(SMALL_MODEL))
    assert manifest["base"] == {"name": "small_model", "fingerprint": fingerprint(SMALL_MODEL), "revision": None}
    assert identity_of(str(SMALL_MODEL)) == BaseIdentity(**manifest["base"]), "the service names it alike"


def test_nothing_reaches_for_the_network(finished: Finished) -> None:
    assert finished.training.connections == ""


def test_found_labels_are_learned_faster_than_inverted_ones(finished: Finished) -> None:
    report = read(finished.out / "report.json")
    polarity, [inverted] = report["polarity"], report["controls"]["inverted"]["epochs"]
    assert polarity["faster"] == "found"
    assert polarity["found_nats"] < polarity["inverted_nats"]
    assert inverted["epoch"] == 1
    assert inverted["held_out"]["agreement"] < 0.5 < report["training"]["epochs"][0]["held_out"]["agreement"]


def test_controls_stand_beside_the_training(forks: ForkServerContext, tmp_path: Path) -> None:
    """Every fourth label is wrong: gold is learned better than these, shuffled ones worse."""
    rows = comparisons(64)
    for row in rows[::4]:
        row["label"] = "True" if row["gold"] == "False" else "False"
    spec = write_spec(tmp_path, rows, controls=["shuffled", "gold"])
    status, training = run(forks, spec, tmp_path / "out")
    assert status == 0, training.errors.read_text("utf-8")
    report = read(tmp_path / "out/report.json")
    last = {name: control["epochs"][-1] for name, control in report["controls"].items()}
    assert last["gold"]["trained"]["nats"] < report["training"]["epochs"][-1]["trained"]["nats"]
    assert last["gold"]["held_out"]["accuracy"] > last["shuffled"]["held_out"]["accuracy"]


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # PEFT's to change
def test_the_seed_chooses_the_first_weights(tmp_path: Path) -> None:
    benches = [bench_of(write_spec(tmp_path, seed=seed)) for seed in (0, 0, 1)]
    first, again, other = (bench.trainable().state_dict() for bench in benches)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_a_finished_training_is_not_done_again(finished: Finished, forks: ForkServerContext) -> None:
    status, end = refused(finished.spec, finished.out)
    assert status == 0
    assert [end] == finished.training.events("end")


@pytest.mark.parametrize("change", [{"seed": 7}, {"labels": ["True", "False", "Neither"]}, {"epochs": 3}])
def test_other_settings_are_refused_by_name(change: dict[str, Any], finished: Finished, tmp_path: Path) -> None:
    status, end = refused(write_spec(tmp_path, **{"controls": ["inverted"], **change}), finished.out)
    assert status == 2
    assert f"other settings ({next(iter(change))})" in end["reason"]


def test_changed_rows_are_refused(finished: Finished, tmp_path: Path) -> None:
    status, end = refused(write_spec(tmp_path, comparisons(65), controls=["inverted"]), finished.out)
    assert status == 2
    assert "other settings (examples)" in end["reason"]


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").write_text("years of work")
    status, end = refused(write_spec(tmp_path), tmp_path / "out")
    assert status == 2
    assert "thesis.tex" in end["reason"]


def test_a_changed_adapter_is_noticed(finished: Finished, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished.out, out)
    weights = out / "adapter/adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    status, end = refused(finished.spec, out)
    assert status == 2
    assert "is not as it was written" in end["reason"]


def test_a_second_training_in_one_folder_is_refused(forks: ForkServerContext, tmp_path: Path) -> None:
    spec, out = write_spec(tmp_path, epochs=50), tmp_path / "out"
    first = start(forks, spec, out)
    try:
        first.wait_for("start")
        status, end = refused(spec, out)
    finally:
        first.process.kill()
        first.wait()
    assert status == 4
    assert "another process is training" in end["reason"]


@pytest.mark.parametrize(
    ("fields", "status", "reason"),
    [
        ({"base": "nobody/nothing"}, 3, "--download"),
        ({"base": "./nowhere"}, 3, "is no folder"),
        ({"device": "cuda"}, 3, "torch finds no GPU"),
        ({"rank": 0}, 2, "rank: must be"),
    ],
)
def test_each_reason_not_to_train_has_its_exit_status(
    fields: dict[str, Any], status: int, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ended, end = refused(write_spec(tmp_path, **fields), tmp_path / "out")
    assert (ended, end["outcome"], end["status"]) == (status, "failed", status)
    assert reason in end["reason"]
    assert reason in capsys.readouterr().err


def test_a_row_over_the_context_is_refused_by_its_line(tmp_path: Path) -> None:
    rows = comparisons(16)
    rows[4]["prompt"] = "Fifty-one " * 5000
    status, end = refused(write_spec(tmp_path, rows), tmp_path / "out")
    assert status == 2
    assert "examples, line 5: prompt: takes 1" in end["reason"]


def test_a_control_by_gold_needs_it_on_every_row(tmp_path: Path) -> None:
    rows = comparisons(16)
    del rows[6]["gold"]
    status, end = refused(write_spec(tmp_path, rows, controls=["noise"]), tmp_path / "out")
    assert status == 2
    assert "controls: noise needs a gold label on every row, and line 7 has none" in end["reason"]


def test_weights_of_nothing_but_zero_are_refused(tmp_path: Path) -> None:
    rows = [{**row, "weight": 0} for row in comparisons(16)]
    status, end = refused(write_spec(tmp_path, rows, weights="confidence"), tmp_path / "out")
    assert status == 2
    assert "has weight 0" in end["reason"]


def test_full_training_leaves_a_language_model_that_loads_by_itself(forks: ForkServerContext, tmp_path: Path) -> None:
    spec, out = write_spec(tmp_path, method="full", learning_rate=1e-3, epochs=1), tmp_path / "out"
    status, training = run(forks, spec, out)
    assert status == 0, training.errors.read_text("utf-8")
    names = {path.name for path in (out / "model").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    assert {path.suffix for path in (out / "model").iterdir()} <= {".json", ".safetensors"}
    assert str(SMALL_MODEL.parent) not in (out / "model/config.json").read_text("utf-8")
    again = write_spec(tmp_path / "again", base=str(out / "model"))
    after = label_training.prepare(bench_of(again), again.parent / "rows.jsonl").before()
    assert after["zero_shot"]["nats"] < training.events("evaluation")[0]["zero_shot"]["nats"]


@pytest.mark.long
def test_rows_computed_in_parts_teach_the_same_and_none_need_be_held_out(
    finished: Finished, forks: ForkServerContext, tmp_path: Path
) -> None:
    parts, whole = write_spec(tmp_path, rows_at_once=2), write_spec(tmp_path / "all", holdout=0, epochs=1)
    assert run(forks, parts, tmp_path / "out")[0] == run(forks, whole, tmp_path / "all/out")[0] == 0
    ours, theirs = (
        [loss for _, loss in read(out / "report.json")["training"]["loss"]] for out in (tmp_path / "out", finished.out)
    )
    assert ours == pytest.approx(theirs, abs=1e-3)
    report = read(tmp_path / "all/out/report.json")
    assert (report["rows"]["trained"], report["rows"]["held_out"]) == (64, 0)
    assert report["training"]["epochs"][0]["held_out"]["agreement"] is None


def test_an_adapter_is_no_base(finished: Finished, tmp_path: Path) -> None:
    status, end = refused(write_spec(tmp_path, base=str(finished.out / "adapter")), tmp_path / "out")
    assert status == 3
    assert "is an adapter" in end["reason"]


def test_the_example_is_a_training_that_can_be_run() -> None:
    file = Path(__file__).parents[2] / "examples/training.json"
    spec = read_spec(file)
    assert find_base(spec.base, file.parent).folder == SMALL_MODEL.resolve()
    examples = read_examples(file.parent / spec.examples, spec.labels)
    assert split([row.group for row in examples.rows], spec.holdout, spec.seed).held_out
