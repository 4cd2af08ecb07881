"""Trainings by the command line and the clients, over the real API; archives are unpacked safely or not at all."""

import asyncio
import errno
import gzip
import io
import json
import tarfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from icm import AsyncClient
from icm.commands import jobs, trainings
from icm.commands.output import measured, plain_table
from icm.commands.progress import figures
from icm.data.archives import unpack
from icm.documents import Training
from icm.errors import DamagedDownload
from service.identifiers import WorkerId
from service.records.access import LOCAL_CALLER
from service.records.trainings import Artifact
from service.records.work import ClaimedWork, WorkKind, WorkStatus
from service.settings import Settings
from tests.support.commands import Command, command_on
from tests.support.running.harness import Service, pairs
from tests.support.stored import new_training
from tests.support.stores import ScratchStore


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    settings = Settings.model_validate({"data_dir": tmp_path / "data", "training": {"bases": {"default": "a-model"}}})
    service = Service(ScratchStore(), settings=settings)
    async with service.client:
        yield service


@pytest.fixture
async def command(service: Service, monkeypatch: pytest.MonkeyPatch) -> Command:
    return command_on(service, monkeypatch, jobs, trainings)


async def claimed(service: Service) -> ClaimedWork:
    """The next training, once there is one."""
    while True:
        async with service.store.worker_unit() as unit:
            work = await unit.work.claim((WorkKind.TRAIN,), WorkerId("trainer"), 60.0)
        if work is not None:
            return work
        await service.store.wait_for_work(1.0)


REPORT: dict[str, Any] = {
    "kind": "label",
    "before": {"zero_shot": {"rows": 4, "agreement": 0.5, "accuracy": 0.5}},
    "training": {"epochs": [{"epoch": 1, "held_out": {"rows": 4, "agreement": 0.75, "accuracy": 1.0}}]},
    "controls": {"shuffled": {"epochs": [{"epoch": 1, "held_out": {"rows": 4, "agreement": 0.25}}]}},
}


def made(folder: Path) -> Path:
    folder.mkdir()
    (folder / "weights").write_bytes(b"1234")
    return folder


async def end_next(service: Service, folder: Path) -> None:
    """Let a worker run the next training."""
    work = await claimed(service)
    artifact = await service.artifacts.put(work.lease.job_id, made(folder))
    async with service.store.worker_unit() as unit:
        progress = {"step": 2, "steps": 2, "loss": 0.25, "tokens_per_second": 900.0, "seconds_left": 0.0}
        await unit.trainings.progress(work.lease, progress)
        await unit.trainings.finish(work.lease, artifact, manifest={}, report=REPORT)
        await unit.work.finish(work.lease, WorkStatus.SUCCEEDED)


async def test_a_training_is_asked_for_followed_listed_and_downloaded(
    service: Service, command: Command, tmp_path: Path
) -> None:
    job = await service.labelled()
    words = ("train", job["id"], "--force", "--uncertain", "--holdout", "0.5", "--epochs", "2", "--wait")
    asking = asyncio.create_task(command(*words))
    await end_next(service, tmp_path / "made")
    done = await asking
    assert done.exit_code == 0, done.stderr
    training_id = done.stdout.strip()
    assert "succeeded  2/2 steps  loss 0.250 nats  900 tokens/s" in done.stderr
    [listed] = [json.loads(line) for line in (await command("trainings", "--json")).stdout.splitlines()]
    assert (listed["id"], listed["config"]["epochs"]) == (training_id, 2)
    assert listed["config"]["rows"]["statuses"] == ["labeled", "uncertain"]
    assert "2/2" in (await command("trainings")).stdout
    assert "agreement on 4 held-out rows, by their labels: 0.500 before, 0.750 after" in done.stderr
    output = tmp_path / "adapter"
    assert (await command("adapters", training_id, "-o", str(output))).exit_code == 0
    assert (output / "weights").read_bytes() == b"1234"
    again = await command("adapters", training_id, "-o", str(output))
    assert (again.exit_code, "is there already" in again.stderr) == (2, True)


async def test_commands_about_jobs_take_the_id_of_a_training(
    service: Service, command: Command, tmp_path: Path
) -> None:
    job = await service.labelled()
    training_id = (await command("train", job["id"], "--force")).stdout.strip()
    assert "0/0 steps" in (await command("pause", training_id)).stdout
    shown = (await command("show", training_id)).stdout.splitlines()
    assert shown[:2] == [f"{training_id}  kind label", "status: paused, 0 of 0 steps"]
    assert {"base: default", f"jobs: {job['id']}"} <= set(shown)
    unfinished = await command("report", training_id)
    assert (unfinished.exit_code, "once it has succeeded" in unfinished.stderr) == (5, True)
    assert f"{training_id} queued" in (await command("resume", training_id)).stdout
    following = asyncio.create_task(command("watch", training_id))
    await end_next(service, tmp_path / "made")
    assert (await following).exit_code == 0
    told = (await command("report", training_id, "--html", str(tmp_path / "report.html"))).stdout.splitlines()
    assert told[-2:] == [
        "accuracy on held-out rows, by gold: 0.500 before, 1.000 after",
        "control shuffled: agreement 0.250",
    ]
    assert training_id in (tmp_path / "report.html").read_text("utf-8")
    ended = await command("cancel", training_id)
    assert f"training {training_id} has already ended: succeeded" in ended.stderr
    assert (await command("delete", training_id, "--yes")).stdout == f"{training_id} deleted\n"
    assert f"there is no training {training_id}" in (await command("show", training_id)).stderr


def test_a_full_disk_is_told_with_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tarfile.TarFile, "extractall", full)
    archive, folder = tmp_path / "a.tar", tmp_path / "adapter"
    with tarfile.open(archive, "w"):
        pass
    with pytest.raises(OSError) as raised:  # noqa: PT011 - its name is checked
        unpack(archive, folder, None)
    assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, str(folder))
    assert list(tmp_path.iterdir()) == [archive]


async def test_what_a_training_does_not_have_is_refused_with_what_to_do(command: Command) -> None:
    training_id = f"train_{'0' * 32}"
    for words, told in (
        (("result", training_id, "-o", "x.csv"), f"icm adapters {training_id} -o FOLDER downloads what was trained"),
        (("report", training_id, "--fail-on", "suspicious"), "the report of a training has no verdict"),
        (("delete", training_id), "the command deletes its files and report for good"),
    ):
        refused = await command(*words)
        assert (refused.exit_code, told in refused.stderr) == (2, True), refused.stderr


def test_ids_in_a_table_stay_whole_on_80_columns() -> None:
    table, console = plain_table("id", "kind", "status", "rows", "steps", "created"), Console(width=80)
    training_id = f"train_{'0' * 32}"
    table.add_row(training_id, "policy", "succeeded", "1000", "100/100", "2026-11-30 12:00:00")
    with console.capture() as captured:
        console.print(table)
    assert captured.get().splitlines()[1].startswith(f"{training_id} policy succeeded 1000 100/100 2026-11-30")


def test_a_report_is_told_by_its_kind() -> None:
    length = {"longer_chosen": 0.9, "reward_by_length": 0.8}
    reward = {"rows": 10, "accuracy": 0.9, "length": length, "position": {"first_chosen": None}}
    report = {
        "kind": "reward",
        "before": {"untrained": {"accuracy": 0.4}},
        "training": {"epochs": [{"held_out": reward}]},
    }
    assert list(measured(report)) == [
        "accuracy on 10 held-out pairs, by their labels: 0.400 before, 0.900 after",
        "the longer text was the better one in 90% of these pairs",
        "correlation of reward and length: 0.80",
    ]
    gain = {"before": 0.0, "after": 1.0, "gain": 1.0}
    goes_with = {"gain": 1.0, "length": {"before": 2.0, "after": 3.0, "share_of_gain": 1.07}, "both": 1.07}
    outcome = {"rows": 8, "reward": gain, "judge": gain, "win_rate": 0.75, "kl_nats": 2.5, "goes_with": goes_with}
    outcome["warnings"] = [{"code": "length", "message": "look"}]
    assert list(measured({"kind": "policy", "after": outcome})) == [
        "reward on 8 held-out prompts: 0.00 before, 1.00 after",
        "win rate against the base, by the judge: 75%; judge: 0.00 before, 1.00 after",
        "KL divergence from the base: 2.50 nats for a completion",
        "length: 2.00 before, 3.00 after; 107% of the gain goes along with it",
        "warning: length: look",
    ]
    assert list(measured({"kind": "label"})) == [
        "agreement on 0 held-out rows, by their labels: unknown before, unknown after"
    ]


async def test_refusals_are_reported_by_field(service: Service, command: Command) -> None:
    job = await service.post()
    refused = await command("train", job["id"])
    assert (refused.exit_code, "field job_ids.0" in refused.stderr) == (3, True)
    assert (await command("adapters", "train_1", "-o", "x")).exit_code == 5


async def reward_models(service: Service) -> list[str]:
    """The ids of two finished trainings of kind reward."""
    made: list[str] = []
    for name in ("reward", "judge"):
        config = {"job_ids": ["job_0"], "kind": "reward", "method": "lora"}
        new = replace(new_training(), config=config, spec={"kind": "reward"})
        async with service.store.project_unit(LOCAL_CALLER) as unit:
            await unit.trainings.add(new)
        work = await claimed(service)
        async with service.store.worker_unit() as worker:
            await worker.trainings.finish(work.lease, Artifact(name, 7), manifest={}, report={"kind": "reward"})
            await worker.work.finish(work.lease, WorkStatus.SUCCEEDED)
        made.append(new.id)
    return made


async def test_a_policy_is_estimated_and_asked_for_with_escapes_as_characters(
    service: Service, command: Command
) -> None:
    job, (reward, judge) = await service.labelled(pairs(24)), await reward_models(service)
    words = ["train", job["id"], "--kind", "policy", "--reward", reward, "--judge", judge, "--holdout", "0.5"]
    words += [
        "--prompt",
        r"{id} \\n\n",
        "--stop",
        r"\n",
        "--completion-tokens",
        "8",
        "--kl-limit",
        "2",
        "--epochs",
        "2",
    ]
    estimated = await command(*words, "--estimate")
    assert estimated.exit_code == 0, estimated.stderr
    assert "rows: 24, of them held out: 12" in estimated.stdout
    assert "unknown, since no training like it has finished" in estimated.stdout
    done = await command(*words)
    assert done.exit_code == 0, done.stderr
    assert "learned from the same job" in done.stderr
    listed = [json.loads(line) for line in (await command("trainings", "--json")).stdout.splitlines()]
    assert [one["id"] for one in listed] == [done.stdout.strip(), judge, reward]
    given: dict[str, Any] = {"reward": reward, "judge": judge, "prompt": "{id} \\n\n", "stop": "\n"}
    given |= {"completion_tokens": 8, "kl_limit": 2}
    assert listed[0]["config"]["policy"].items() >= given.items()
    assert "policy" in (await command("trainings")).stdout
    refused = await command("train", job["id"], "--reward", reward)
    assert (refused.exit_code, "field policy: is for kind policy alone" in refused.stderr) == (3, True)


def test_the_progress_of_a_policy_is_its_reward_and_kl_divergence() -> None:
    progress = {"step": 1, "steps": 2, "loss": 0.0, "reward": -1.25, "kl_nats": 0.5, "tokens_per_second": 900.0}
    document = {"id": "train_1", "status": "running", "created_at": "2026-11-30T00:00:00Z", "progress": progress}
    assert figures(Training.read(document)) == "reward -1.25  KL 0.50 nats  900 tokens/s"


async def test_a_training_that_ends_badly_is_an_exit_code(service: Service, command: Command) -> None:
    job = await service.labelled()
    asking = asyncio.create_task(command("train", job["id"], "--force", "--wait", "--json"))
    work = await claimed(service)
    async with service.store.worker_unit() as unit:
        error = {"code": "TrainingFailed", "message": "memory does not suffice"}
        await unit.work.finish(work.lease, WorkStatus.FAILED, error=error)
    done = await asking
    assert done.exit_code == 1
    told = json.loads(done.stderr)["error"]
    assert "memory does not suffice" in told["detail"]
    assert told["training"]["status"] == "failed"


async def test_the_clients_have_the_same_calls(service: Service, tmp_path: Path) -> None:
    job = await service.labelled()
    transport = httpx.ASGITransport(service.app)
    async with AsyncClient("http://localhost", transport=transport) as client:
        assert (await client.trainings.estimate(job["id"], force=True))["base"] == "default"
        first = await client.train(job["id"], force=True, idempotency_key="once")
        assert (await client.trainings.create(job["id"], force=True, idempotency_key="once")).id == first.id
        assert (await client.trainings.pause(first.id)).status == "paused"
        assert (await client.trainings.resume(first.id)).status == "queued"
        await end_next(service, tmp_path / "made")
        assert (await client.trainings.wait(first.id, timeout_seconds=60)).status == "succeeded"
        assert (await client.trainings.report(first.id))["report"] == REPORT
        page = await client.trainings.report_html(first.id, to=tmp_path / "report.html")
        assert first.id in page.read_text("utf-8")
        folder = await client.trainings.adapter(first.id, to=tmp_path / "adapter")
        assert (folder / "weights").read_bytes() == b"1234"
        second = await client.train(job["id"], force=True, epochs=1)
        assert (await client.trainings.cancel(second.id)).is_final
        assert [found.id async for found in client.trainings.list()] == [second.id, first.id]
        await client.trainings.delete(second.id)
        assert [found.id async for found in client.trainings.list()] == [first.id]


def archive(tmp_path: Path, *members: tarfile.TarInfo) -> Path:
    path = tmp_path / "made.tar"
    with tarfile.open(path, "w") as tar:
        for member in members:
            member.size = 4 if member.isreg() else 0
            tar.addfile(member, io.BytesIO(b"1234") if member.isreg() else None)
    return path


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize(
    "members",
    [
        [tarfile.TarInfo("../outside")],
        [link("inner", "/"), tarfile.TarInfo("inner/outside")],
        [link("inner", "../.."), tarfile.TarInfo("weights")],
        [tarfile.TarInfo("/outside")],
        [link("inner", "/etc/passwd", tarfile.LNKTYPE)],
        [tarfile.TarInfo("weights"), link("inner", "weights")],
        [tarfile.TarInfo("weights"), link("inner", "weights", tarfile.LNKTYPE)],
        [tarfile.TarInfo("weights"), link("inner", "inner")],
        [link("inner", "", tarfile.FIFOTYPE)],
        [tarfile.TarInfo("weights"), tarfile.TarInfo("weights")],
        [tarfile.TarInfo("weights"), tarfile.TarInfo("weights/more")],
    ],
)
def test_an_archive_of_anything_but_plain_files_below_its_folder_is_not_unpacked(
    tmp_path: Path, members: list[tarfile.TarInfo]
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    with pytest.raises(DamagedDownload):
        unpack(archive(tmp_path, *members), place / "adapter", None)
    assert list(place.iterdir()) == []
    assert not (tmp_path / "outside").exists()


def test_an_archive_of_other_files_than_the_service_named_is_not_unpacked(tmp_path: Path) -> None:
    with pytest.raises(DamagedDownload, match="download them again"):
        unpack(archive(tmp_path, tarfile.TarInfo("weights")), tmp_path / "adapter", "0" * 64)
    assert not (tmp_path / "adapter").exists()


def test_an_archive_that_is_cut_off_is_not_unpacked(tmp_path: Path) -> None:
    path = archive(tmp_path, tarfile.TarInfo("weights"))
    path.write_bytes(path.read_bytes()[:514])
    with pytest.raises(DamagedDownload, match="no complete archive; download it again"):
        unpack(path, tmp_path / "adapter", None)
    assert [path.name for path in tmp_path.iterdir()] == ["made.tar"]


@pytest.mark.parametrize(
    "content", [b"", b"<html>", gzip.compress(b"\0" * 10_240)], ids=["nothing", "a page", "a gzip"]
)
def test_anything_but_a_plain_tar_is_reported_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "made.tar").write_bytes(content)
    with pytest.raises(DamagedDownload) as refused:
        unpack(tmp_path / "made.tar", tmp_path / "adapter", None)
    assert str(refused.value) == "the download is no complete archive; download it again"


async def test_an_existing_output_is_reported_before_anything_is_downloaded(command: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("file", "link", "."):
        refused = await command("adapters", "train_1", "-o", str(tmp_path / name))
        assert (refused.exit_code, "is there already" in refused.stderr) == (2, True), name
    below = await command("adapters", "train_1", "-o", str(tmp_path / "file" / "adapter"))
    assert (below.exit_code, "no such folder" in below.stderr) == (2, True)
    assert (tmp_path / "file").read_text() == "mine"
