"""Reward models behind a child process: one at a time is loaded, as long as it is used, and nothing is left of it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from service.artifacts.file_systems import FileSystemArtifacts
from service.errors import ArtifactMissing, RewardModelUnusable, RewardsUnavailable
from service.records.rewards import RewardedText, RewardModel
from service.training_process import reward_scorer
from service.training_process.reward_scorer import ChildRewardScorer, RewardSettings
from tests.support.rewards import MANIFEST, reward_training
from tests.unit.training_process.test_child import PROGRAM, has_ended, is_running

PRETENDER = (*PROGRAM[:-1], str(Path(__file__).with_name("reward_pretender.py")))


class Place:
    """Who asks reward models, and where their files are."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.work = folder / "work"
        self.artifacts = FileSystemArtifacts(str(folder / "artifacts"))
        bases = {"default": str(folder / "the-base")}
        own = RewardSettings(bases=bases, folder=self.work, device="cpu", **settings)
        self.scorer = ChildRewardScorer(own, self.artifacts, program=PRETENDER)

    async def model(self, weights: bytes = b"weights", **manifest: Any) -> RewardModel:
        """A reward model whose files are stored."""
        made = reward_training()
        (self.folder / "adapter").mkdir(exist_ok=True)
        (self.folder / "adapter" / "weights").write_bytes(weights)
        stored = await self.artifacts.put(made.training.id, self.folder / "adapter")
        training = replace(made.training, artifact=stored)
        model = RewardModel.of(replace(made, training=training, manifest={**MANIFEST, **manifest}))
        assert model is not None
        return model

    async def one(self, model: RewardModel, text: str) -> float:
        [found] = await self.scorer.score(model, [text])
        assert found.reward is not None
        return found.reward

    async def pid(self, model: RewardModel) -> int:
        return int(await self.one(model, "pid"))


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    place = Place(tmp_path)
    yield place
    await place.scorer.close()


@pytest.fixture(autouse=True)
def _everything_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reward_scorer, "missing_modules", tuple)


def files_of(place: Place) -> list[str]:
    return [path.name for path in place.work.iterdir() if path.name != ".now"]


async def test_rewards_come_back_in_order_and_one_process_gives_them(place: Place) -> None:
    model = await place.model()
    found = await place.scorer.score(model, ["three", "long", "a"])
    assert found == [RewardedText(5.0, 5), RewardedText(None, 4), RewardedText(1.0, 1)]
    assert await place.pid(model) == await place.pid(model)


async def test_files_are_gone_once_they_are_loaded_and_settings_are_not_passed_on(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICM_DATABASE_URL", "secret")
    model = await place.model()
    assert await place.one(model, "secrets") == 0
    assert files_of(place) == []


async def test_another_reward_model_takes_the_place_of_the_first(place: Place) -> None:
    first, second = await place.model(b"one"), await place.model(b"two")
    before = await place.pid(first)
    assert await place.pid(second) != before
    assert await has_ended(before)


async def test_a_process_that_dies_is_an_error_and_starts_again(place: Place) -> None:
    model = await place.model()
    before = await place.pid(model)
    with pytest.raises(RewardsUnavailable, match="status -9"):
        await place.scorer.score(model, ["die"])
    assert await place.pid(model) != before


async def test_a_reward_model_that_is_refused_says_why_without_places(place: Place) -> None:
    model = await place.model(refuse="is an adapter of another base")
    with pytest.raises(RewardModelUnusable) as caught:
        await place.scorer.score(model, ["a"])
    told = f"is an adapter of another base: the training {model.training_id} and default"
    assert str(caught.value) == f"the reward model cannot be used: {told}"
    assert files_of(place) == []


async def test_lost_files_are_an_error(place: Place) -> None:
    model = await place.model()
    await place.artifacts.remove(model.training_id)
    with pytest.raises(ArtifactMissing):
        await place.scorer.score(model, ["a"])
    assert files_of(place) == []


async def test_the_error_of_an_unwritable_data_folder_does_not_name_its_path(place: Place) -> None:
    place.work.touch()
    with pytest.raises(RewardsUnavailable) as caught:
        await place.scorer.score(await place.model(), ["a"])
    assert str(place.work) not in str(caught.value)
    place.work.unlink()
    assert await place.one(await place.model(), "a") == 1


async def test_an_answer_that_nobody_waits_for_is_nobody_elses(place: Place) -> None:
    model = await place.model()
    pid, gate = await place.pid(model), place.folder / "gate"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await place.scorer.score(model, [f"wait {gate}"])
    waiting = asyncio.create_task(place.scorer.score(model, ["a", "pid"]))
    gate.touch()
    assert await waiting == [RewardedText(1.0, 1), RewardedText(float(pid), 3)]


async def test_loading_goes_on_when_nobody_waits(place: Place) -> None:
    model = await place.model()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.0):
            await place.scorer.score(model, ["a"])
    assert await place.one(model, "ab") == 2


async def test_waiting_requests_get_a_turn_and_too_many_are_refused(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reward_scorer, "MOST_WAITING", 3)
    model = await place.model()
    asked = [place.scorer.score(model, ["x" * length]) for length in range(1, 6)]
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert [one[0].reward for one in found if isinstance(one, list)] == [1, 2, 3]
    assert [type(one) for one in found[3:]] == [RewardsUnavailable] * 2


async def test_a_reward_model_that_nobody_uses_gives_its_memory_back(tmp_path: Path) -> None:
    place = Place(tmp_path, idle_seconds=0.0)
    model = await place.model()
    pid = await place.pid(model)
    assert await has_ended(pid)
    assert await place.one(model, "abc") == 3
    await place.scorer.close()


async def test_closed_it_leaves_no_process(place: Place) -> None:
    pid = await place.pid(await place.model())
    await place.scorer.close()
    assert not is_running(pid)


async def test_missing_parts_are_reported_before_anything_is_loaded(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = await place.model()
    with pytest.raises(RewardModelUnusable, match="base 'other', and ICM_TRAINING__BASES does not name it"):
        await place.scorer.score(replace(model, base="other"), ["a"])
    monkeypatch.setattr(reward_scorer, "missing_modules", lambda: ("peft", "trl"))
    with pytest.raises(RewardModelUnusable, match="need peft, trl, which is not installed here"):
        await place.scorer.score(model, ["a"])
    assert not place.work.exists()
