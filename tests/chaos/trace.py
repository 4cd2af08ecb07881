"""The trace of commits, kept by the chaos database itself, and what must be true of it.

A broken fence can still end with the right labels, since a step that is done twice gives the same answer
twice. So it is not enough to look at results: triggers note every committed step together with the lease
under which it was written and the lease that stood at that moment. A transaction that is rolled back
takes its notes with it.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

CLAIMED, SAVED, STALE = "claimed", "saved", "stale"  # otherwise `what` is the shard's new status
Shard = tuple[str, int]  # job and shard

INSTALL = """
CREATE SCHEMA chaos;
CREATE TABLE chaos.commits (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    txid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    job_id text NOT NULL,
    shard integer NOT NULL,
    what text NOT NULL,
    standing text,  -- the lease at that moment: epoch and worker
    claimed text,   -- the lease under which this was written, as its writer says
    epoch integer NOT NULL,
    crashes integer NOT NULL,
    step integer,
    checkpoint text
);
CREATE INDEX ON chaos.commits (job_id, shard, number);
CREATE TABLE chaos.progress (job_id text PRIMARY KEY, steps integer NOT NULL);

CREATE FUNCTION chaos.announced(job text, shard integer) RETURNS text LANGUAGE sql AS $$
    SELECT CASE WHEN current_setting('chaos.shard', true) = job || '/' || shard
        THEN current_setting('chaos.lease', true) END
$$;

CREATE FUNCTION chaos.note_shard() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    standing text := OLD.epoch || ' ' || OLD.worker_id;
    announced text := chaos.announced(NEW.job_id, NEW.number);
    what text;
BEGIN
    IF NEW.epoch <> OLD.epoch THEN
        what := 'claimed';
    ELSIF announced IS NOT NULL AND announced IS DISTINCT FROM standing THEN
        what := 'stale';
    ELSIF NEW.status <> OLD.status THEN
        what := NEW.status;
    ELSE
        RETURN NULL;
    END IF;
    INSERT INTO chaos.commits (job_id, shard, what, standing, claimed, epoch, crashes)
        VALUES (NEW.job_id, NEW.number, what, standing, announced, NEW.epoch, NEW.crashes);
    RETURN NULL;
END $$;

CREATE FUNCTION chaos.note_checkpoint() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    held record;
BEGIN
    SELECT epoch || ' ' || worker_id AS lease, epoch, crashes INTO held
        FROM work_items WHERE job_id = NEW.job_id AND number = NEW.number;
    INSERT INTO chaos.commits (job_id, shard, what, standing, claimed, epoch, crashes, step, checkpoint)
        VALUES (NEW.job_id, NEW.number, 'saved', held.lease, chaos.announced(NEW.job_id, NEW.number), held.epoch,
            held.crashes, (convert_from(NEW.data, 'UTF8')::json ->> 'step')::integer, md5(NEW.data));
    INSERT INTO chaos.progress VALUES (NEW.job_id, 1)
        ON CONFLICT (job_id) DO UPDATE SET steps = chaos.progress.steps + 1;
    RETURN NULL;
END $$;

CREATE FUNCTION chaos.note_label() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    writer text := current_setting('chaos.lease', true);
    place text := current_setting('chaos.shard', true);
    held record;
BEGIN
    SELECT number, epoch, crashes, epoch || ' ' || worker_id AS lease INTO held FROM work_items
        WHERE job_id = NEW.job_id AND job_id || '/' || number = place;
    IF held.lease IS DISTINCT FROM writer OR writer IS NULL THEN
        INSERT INTO chaos.commits (job_id, shard, what, standing, claimed, epoch, crashes)
            VALUES (NEW.job_id, coalesce(held.number, -1), 'stale', held.lease, writer, coalesce(held.epoch, -1),
                coalesce(held.crashes, -1));
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER note AFTER UPDATE ON work_items FOR EACH ROW EXECUTE FUNCTION chaos.note_shard();
CREATE TRIGGER note AFTER INSERT OR UPDATE ON checkpoints FOR EACH ROW EXECUTE FUNCTION chaos.note_checkpoint();
CREATE TRIGGER note AFTER INSERT OR UPDATE ON label_states FOR EACH ROW EXECUTE FUNCTION chaos.note_label();
"""


@dataclass(frozen=True)
class Commit:
    """A committed change of one shard."""

    at: datetime
    job_id: str
    shard: int
    what: str
    standing: str | None = None
    claimed: str | None = None
    epoch: int = 0
    crashes: int = 0
    step: int | None = None
    checkpoint: str | None = None


async def install(connection: asyncpg.Connection) -> None:
    """Make the database keep the trace."""
    await connection.execute(INSTALL)


async def trace(connection: asyncpg.Connection) -> list[Commit]:
    """Everything committed so far. Commits of one shard are in their order, since a writer locks the shard's
    row.
    """
    columns = "at, job_id, shard, what, standing, claimed, epoch, crashes, step, checkpoint"
    rows = await connection.fetch(f"SELECT {columns} FROM chaos.commits ORDER BY number")  # noqa: S608 - ours
    return [Commit(*row) for row in rows]


def by_shard(commits: Sequence[Commit]) -> dict[Shard, list[Commit]]:
    """The commits of each shard."""
    found = defaultdict(list)
    for commit in commits:
        found[commit.job_id, commit.shard].append(commit)
    return dict(found)


def violations(commits: Sequence[Commit], expected: Mapping[Shard, Sequence[str]]) -> list[str]:
    """What must not be in the trace of shards that have all ended well.

    `expected` has the checkpoints of each shard as an undisturbed run saves them, one for each step.
    """
    shards = by_shard(commits)
    found = [f"{job}/{shard}: no such shard" for job, shard in shards.keys() - expected.keys()]
    for (job, shard), checkpoints in expected.items():
        told = shards.get((job, shard), [])
        found += [f"{job}/{shard}: {fault}" for fault in _of_shard(told, checkpoints)]
    return found


def _of_shard(commits: Sequence[Commit], expected: Sequence[str]) -> Iterator[str]:
    yield from _leases(commits)
    yield from _steps([commit for commit in commits if commit.what == SAVED], expected)
    ends = [commit.what for commit in commits if commit.what in {"succeeded", "failed", "cancelled"}]
    if ends != ["succeeded"]:
        yield f"ended as {ends}"
    elif commits[-1].what != "succeeded":
        yield f"{commits[-1].what} after its end"


def _leases(commits: Sequence[Commit]) -> Iterator[str]:
    """Every claim raises the epoch by one, and every writer holds the current lease."""
    epoch = 0
    for commit in commits:
        if commit.what == CLAIMED:
            if commit.epoch != epoch + 1:
                yield f"epoch {commit.epoch} after epoch {epoch}"
            epoch = commit.epoch
        elif commit.what == STALE or (commit.what == SAVED and commit.claimed != commit.standing):
            yield f"{commit.what} by {commit.claimed} while {commit.standing} held the lease"
        elif commit.what == SAVED and commit.epoch != epoch:
            yield f"saved in epoch {commit.epoch} after the claim of epoch {epoch}"


def _steps(saved: Sequence[Commit], expected: Sequence[str]) -> Iterator[str]:
    """Each step is committed once, in order, as in the undisturbed run."""
    last = -1
    for commit in saved:
        step = -1 if commit.step is None else commit.step
        if step == last:
            yield f"step {step} committed twice"
        elif step < last:
            yield f"step {step} committed after step {last}"
        last = step
    found = [commit.checkpoint for commit in saved]
    if found != list(expected):
        at = next((i for i, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b), "the end")
        yield f"{len(found)} checkpoints are not the {len(expected)} of the undisturbed run, from {at} on"


def log_violations(job_id: str, log: Sequence[tuple[int, str, datetime]]) -> list[str]:
    """Violations in a finished job's event log: gaps, events out of order, events after the end."""
    found = []
    if [sequence for sequence, _, _ in log] != list(range(1, len(log) + 1)):
        found.append(f"{job_id}: the numbers of its events are not contiguous")
    times = [at for _, _, at in log]
    if times != sorted(times):
        found.append(f"{job_id}: its events are out of order")
    ends = [kind for _, kind, _ in log if kind in {"job.succeeded", "job.failed", "job.cancelled"}]
    if ends != ["job.succeeded"] or log[-1][1] != "job.succeeded":
        found.append(f"{job_id}: ended as {ends}, then {log[-1][1] if log else 'nothing'}")
    return found
