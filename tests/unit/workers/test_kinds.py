"""Which kinds of work a worker process does, and in which order it claims them."""

import asyncio
from argparse import ArgumentTypeError

import pytest

from service.bootstrap import Application, build_application
from service.identifiers import WorkerId
from service.ports.observers import WorkObserver
from service.records.work import ClaimedWork, WorkKind, WorkOutcome, WorkStatus
from service.settings import Settings
from tests.behaviour.test_kinds_of_work import training
from tests.support.running.workplace import Workshop
from tests.support.stored import queued
from tests.support.stores import ScratchStore
from workers import worker
from workers.__main__ import _periodic_tasks, parsed_kinds
from workers.handlers import HANDLERS, all_kinds
from workers.worker import Worker

LABEL, TRAIN, DELIVER = WorkKind.LABEL, WorkKind.TRAIN, WorkKind.DELIVER


class Noting:
    """A handler that succeeds with every work item at once."""

    def __init__(self, application: Application, done: list[WorkKind]) -> None:
        self._store, self._done = application.store, done

    async def run(self, claimed: ClaimedWork, _stop: asyncio.Event) -> WorkOutcome:
        self._done.append(claimed.kind)
        async with self._store.worker_unit() as unit:
            await unit.work.finish(claimed.lease, WorkStatus.SUCCEEDED)
        return WorkOutcome.SUCCEEDED


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[WorkKind]:
    """What was done, by handlers of two kinds."""
    kinds = list[WorkKind]()

    def handler(application: Application, _observer: WorkObserver) -> Noting:
        return Noting(application, kinds)

    monkeypatch.setattr(worker, "HANDLERS", {LABEL: handler, TRAIN: handler})
    return kinds


async def test_no_kind_waits_until_another_has_no_work_left(done: list[WorkKind]) -> None:
    workshop = Workshop()
    for _ in range(2):
        await queued(workshop.store)
        await training(workshop.store)
    both = Worker(workshop.application, WorkerId("both"), kinds=(LABEL, TRAIN))
    while await both.work_once():
        pass
    assert done == [LABEL, TRAIN, LABEL, TRAIN]


async def test_a_worker_claims_only_its_kinds(done: list[WorkKind]) -> None:
    workshop = Workshop()
    await queued(workshop.store)
    assert await Worker(workshop.application, WorkerId("trainer"), kinds=(TRAIN, DELIVER)).work_once() is False
    assert await Worker(workshop.application, WorkerId("labeller"), kinds=(LABEL,)).work_once() is True
    assert done == [LABEL]


@pytest.mark.parametrize(
    ("text", "kinds"),
    [("label", (LABEL,)), ("deliver, label", (DELIVER, LABEL)), ("label,label", (LABEL,))],
)
def test_the_command_line_lists_kinds(text: str, kinds: tuple[WorkKind, ...]) -> None:
    assert parsed_kinds(text) == kinds


@pytest.mark.parametrize("text", ["", "labels", "label,", "shard"])
def test_a_kind_that_nobody_here_can_do_is_named_with_those_that_can_be(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match=f"no kind of work .* list some of {', '.join(all_kinds())}"):
        parsed_kinds(text)


def test_by_default_a_worker_does_everything_that_the_installation_can_do() -> None:
    assert set(all_kinds()) >= {LABEL, DELIVER}
    assert set(HANDLERS) <= set(all_kinds())


@pytest.mark.parametrize(("kinds", "sends"), [((LABEL,), False), ((DELIVER,), True), ((LABEL, DELIVER), True)])
def test_webhooks_are_sent_by_workers_that_are_for_it(kinds: tuple[WorkKind, ...], sends: bool) -> None:
    tasks = [task.name for task in _periodic_tasks(build_application(Settings(), store=ScratchStore()), kinds)]
    assert ("webhooks" in tasks) is sends
    assert {"maintenance", "unblocking"} <= set(tasks)
