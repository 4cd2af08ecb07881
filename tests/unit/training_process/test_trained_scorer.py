"""Trainings of a search as child processes: scores return by row, and stops and deaths cost no more than needed."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from service.errors import TrainingFailed
from service.identifiers import Label, Row
from service.records.trainings import TrainingEvent
from service.search.predictions.prompt_tree import Query, TreeScores, Usage
from service.search.predictions.training import TrainAndScore, TrainingExample
from service.training_process import installed, trained_scorer
from service.training_process.trained_files import examples_of, spec_of
from service.training_process.trained_scorer import TRIES, Base, ChildTrainer, TouchFolder, remove_idle
from workers.training_folders import TrainingFolders

PROGRAM = (sys.executable, "-S", str(Path(__file__).with_name("scorer_pretender.py")))
LABELS = ("True", "False")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def trainer(base: Path, at_once: int = 1) -> ChildTrainer:
    return ChildTrainer(Base(name=str(base), at_once=at_once), base.parent / "work", program=PROGRAM)


def asked(first: str = "a", *, seed: int = 0, weight: float = 1.0) -> TrainAndScore:
    examples = (TrainingExample(Row(0), first, Label(1), weight), TrainingExample(Row(1), "b", Label(0)))
    return TrainAndScore(
        examples=examples, queries=(Query(Row(7), "four"), Query(Row(5), "sixsix")), epochs=3, seed=seed
    )


async def scored(base: Path, training: TrainAndScore, stop: asyncio.Event | None = None) -> TreeScores | None:
    return await trainer(base).train_and_score(training, LABELS, separator="\n\n", stop=stop or asyncio.Event())


async def test_scores_and_cost_are_returned_and_the_folder_is_removed(base: Path) -> None:
    found = await scored(base, asked())
    assert found == TreeScores(
        {Row(7): (-4.0, -2.0), Row(5): (-6.0, -2.0)}, Usage(2, 74, 74, trainings=1, tokens_trained=60)
    )
    assert list((base.parent / "work").iterdir()) == []


def test_a_training_is_specified_as_the_search_asks_for_it() -> None:
    spec = spec_of(asked(seed=4), LABELS, "\n")
    assert {name: spec[name] for name in ("labels", "separator", "epochs", "seed", "holdout", "weights")} == {
        "labels": ["True", "False"],
        "separator": "\n",
        "epochs": 3,
        "seed": 4,
        "holdout": 0,
        "weights": "none",
    }
    assert "learning_rate" not in spec
    assert examples_of(asked("x"), LABELS) == [{"prompt": "x", "label": "False"}, {"prompt": "b", "label": "True"}]
    assert spec_of(asked(weight=0.5), LABELS, "\n")["weights"] == "confidence"
    spelled = spec_of(asked(), ("True", "7"), "\n", all_spellings=True)["spellings"]
    assert spelled == [[" true", " TRUE", "True", "true", "TRUE"], ["7"]]
    assert examples_of(asked(weight=0.5), LABELS)[0]["weight"] == 0.5


async def test_a_training_that_fails_says_why(base: Path) -> None:
    with pytest.raises(TrainingFailed, match="rank: must be greater"):
        await scored(base, asked("fail"))


async def test_a_child_that_dies_is_restarted_from_its_checkpoint(base: Path) -> None:
    assert await scored(base, asked(f"die {TRIES - 1}")) is not None


async def test_a_child_that_dies_each_time_fails_the_training(base: Path) -> None:
    with pytest.raises(TrainingFailed, match=f"failed {TRIES} times: the training was ended by SIGKILL"):
        await scored(base, asked("die 99"))


async def test_missing_scores_fail_the_training(base: Path) -> None:
    with pytest.raises(TrainingFailed, match="without the scores of all rows"):
        await scored(base, asked("forget"))


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """An event that is set as soon as a training waits."""
    stop = asyncio.Event()

    class Heeding(TouchFolder):
        async def __call__(self, event: TrainingEvent) -> None:
            await TouchFolder.__call__(self, event)
            if event.name == "waiting":
                stop.set()

    monkeypatch.setattr(trained_scorer, "TouchFolder", Heeding)
    return stop


async def test_a_stopped_training_keeps_its_folder_and_resumes_there(base: Path, stop: asyncio.Event) -> None:
    assert await scored(base, asked("wait"), stop) is None
    [folder] = (base.parent / "work").iterdir()
    assert await scored(base, asked("wait")) is not None
    assert not folder.exists()


async def test_no_more_trainings_run_concurrently_than_the_operator_allows(base: Path, stop: asyncio.Event) -> None:
    made = trainer(base)
    both = [made.train_and_score(asked("wait", seed=seed), LABELS, separator="", stop=stop) for seed in (1, 2)]
    assert await asyncio.gather(*both) == [None, None]
    assert len(list((base.parent / "work").glob("*/runs"))) == 1


async def test_another_content_of_the_base_is_another_base(base: Path) -> None:
    before = await trainer(base).identify()
    assert await trainer(base).identify() == before
    (base / "model.safetensors").write_bytes(b"Weights")
    assert await trainer(base).identify() != before
    assert await ChildTrainer(Base(name=str(base), device="cpu"), base).identify() != before


async def test_the_reason_why_the_base_cannot_be_trained_is_reported(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await trainer(base).problem() is None
    problem = await trainer(base.parent / "nowhere").problem()
    assert problem is not None
    assert "is neither the folder of a Hugging Face model nor the name of one that was downloaded before" in problem
    monkeypatch.setattr(installed, "NEEDED", ("training", "no_such_module"))
    problem = await trainer(base).problem()
    assert problem is not None
    assert problem.startswith("training needs no_such_module, which is not installed here: install the extra")


async def test_a_child_sees_no_paths_except_its_own(base: Path) -> None:
    stop = asyncio.Event()
    stop.set()
    assert await scored(base, asked(), stop) is None
    [folder] = (base.parent / "work").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["SPEC.json", "examples.jsonl", "questions.jsonl"]
    assert json.loads((folder / "SPEC.json").read_text("utf-8"))["score"] == "questions.jsonl"


async def test_idle_folders_are_removed_and_events_keep_a_folder_from_being_idle(
    base: Path, stop: asyncio.Event
) -> None:
    assert await scored(base, asked("wait"), stop) is None
    work = base.parent / "work"
    [folder] = work.iterdir()
    assert remove_idle(work, 60.0) == 0
    os.utime(folder, (0, 0))
    stop.clear()
    assert await scored(base, asked("wait", seed=1), stop) is None
    assert remove_idle(work, 60.0) == 1
    [left] = [each for each in work.iterdir() if each.is_dir()]
    assert left != folder
    assert remove_idle(base / "nowhere", 60.0) == 0


async def test_a_worker_removes_idle_folders(base: Path) -> None:
    idle = base.parent / "work" / "idle"
    idle.mkdir(parents=True)
    task = TrainingFolders(idle.parent)
    assert await task.run_once() > 0
    assert idle.exists()
    os.utime(idle, (0, 0))
    await task.run_once()
    assert not idle.exists()
