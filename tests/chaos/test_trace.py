"""The checks of traces find the violations that they are for."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.chaos.trace import CLAIMED, SAVED, STALE, Commit, log_violations, violations

START = datetime(2026, 1, 1, tzinfo=UTC)
EXPECTED = {("job", 0): ["one", "two", "three"]}


def told(*parts: Commit) -> list[Commit]:
    return [replace(part, at=START + timedelta(seconds=number)) for number, part in enumerate(parts)]


def commit(what: str, epoch: int, step: int | None = None, checkpoint: str | None = None) -> Commit:
    lease = f"{epoch} worker"
    return Commit(START, "job", 0, what, standing=lease, claimed=lease, epoch=epoch, step=step, checkpoint=checkpoint)


GOOD = (
    commit(CLAIMED, 1),
    commit(SAVED, 1, 1, "one"),
    commit(SAVED, 1, 2, "two"),
    commit(CLAIMED, 2),  # its lease had run out
    commit(SAVED, 2, 3, "three"),
    commit("succeeded", 2),
)


def test_a_shard_that_two_workers_took_turns_with_is_fine() -> None:
    assert violations(told(*GOOD), EXPECTED) == []


Spoil = Callable[[Sequence[Commit]], Sequence[Commit]]
SPOILT: dict[str, tuple[Spoil, str]] = {
    "twice": (lambda good: [*good[:3], good[2], *good[3:]], "committed twice"),
    "backward": (lambda good: [*good[:4], commit(SAVED, 2, 1, "one"), *good[4:]], "committed after step 2"),
    "left out": (lambda good: [*good[:2], *good[3:]], "not the 3 of the undisturbed run"),
    "other bytes": (
        lambda good: [*good[:4], replace(good[4], checkpoint="other"), good[5]],
        "not the 3 of the undisturbed run, from 2 on",
    ),
    "zombie": (
        lambda good: [*good[:4], replace(good[4], claimed="1 sleeper"), good[5]],
        "by 1 sleeper while 2 worker held",
    ),
    "unannounced": (lambda good: [good[0], replace(good[1], claimed=None), *good[2:]], "by None while 1 worker held"),
    "stale label": (lambda good: [*good[:4], commit(STALE, 2), *good[4:]], "stale by"),
    "same epoch": (lambda good: [*good[:3], commit(CLAIMED, 1), *good[4:]], "epoch 1 after epoch 1"),
    "finished twice": (lambda good: [*good, commit("succeeded", 2)], "ended as ['succeeded', 'succeeded']"),
    "given up": (lambda good: [*good[:5], commit("failed", 2)], "ended as ['failed']"),
    "goes on": (lambda good: [*good, commit(CLAIMED, 3)], "claimed after its end"),
    "never ran": (lambda good: [], "ended as []"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_what_must_not_be_in_a_trace_is_found(name: str) -> None:
    spoil, message = SPOILT[name]
    found = violations(told(*spoil(GOOD)), EXPECTED)
    assert any(message in one for one in found), found


def test_a_shard_that_no_undisturbed_run_has_is_found() -> None:
    assert violations(told(*GOOD), {}) == ["job/0: no such shard"]


LOG = [
    (1, "job.created", START),
    (2, "job.running", START),
    (3, "job.succeeded", START + timedelta(seconds=1)),
]


@pytest.mark.parametrize(
    ("log", "message"),
    [
        (LOG, None),
        ([LOG[0], LOG[2]], "not contiguous"),
        ([LOG[0], LOG[1], LOG[1], LOG[2]], "not contiguous"),
        ([LOG[0], (2, "job.running", START + timedelta(seconds=9)), LOG[2]], "out of order"),
        (LOG[:2], "ended as []"),
        ([*LOG, (4, "job.progress", START + timedelta(seconds=2))], "then job.progress"),
        ([], "then nothing"),
    ],
    ids=["whole", "gap", "repeated", "disordered", "without end", "after the end", "empty"],
)
def test_a_log_is_whole_and_in_order(log: list[tuple[int, str, datetime]], message: str | None) -> None:
    found = log_violations("job", log)
    assert found == [] if message is None else any(message in one for one in found)
