"""The plan of a chaos run: which faults happen and when, drawn from a seed; it prints itself and can be read back.

Moments are told by progress rather than by the clock: a fault comes once so large a share of its job's
steps has been committed. So a plan means the same on a fast and on a slow machine, and a run that found
something can be repeated with the plan it printed.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from random import Random
from typing import Any, Self

LATEST = 0.95  # of a job's steps, since a fault after the last step would hit nobody


class Kind(StrEnum):
    """A kind of fault."""

    KILL = "worker killed"  # SIGKILL to the worker that holds a shard of the job
    STOP = "worker stopped"  # SIGSTOP until another worker has claimed its shard, then SIGCONT
    TERM = "worker told to end"  # SIGTERM
    CUT = "connections cut"  # pg_terminate_backend, to half of all sessions
    BACKEND = "Postgres backend killed"  # SIGKILL, so that the whole server recovers from its log
    POSTMASTER = "Postgres killed"  # SIGKILL to the postmaster
    SHUTDOWN = "Postgres shut down at once"  # SIGQUIT: without a checkpoint
    SCORER = "inference server killed"  # SIGKILL, and a fresh one in its place


OF_WORKERS = (Kind.KILL, Kind.STOP, Kind.TERM)
SERVER_CRASHES = (Kind.BACKEND, Kind.POSTMASTER, Kind.SHUTDOWN)


@dataclass(frozen=True)
class JobPlan:
    """A job of the run."""

    strategy: str  # `paper` (one shard, many steps) or `folds` (an anchor and many shards)
    rows: int
    steps: int  # of `paper`
    served: bool  # whether a separate process scores, which can be killed

    def examples(self, number: int) -> list[dict[str, Any]]:
        """The job's rows, which no other job has."""
        return [{"text": f"claim {row} of job {number}", "question": row // 2} for row in range(self.rows)]

    @property
    def config(self) -> dict[str, Any]:
        """The job's configuration."""
        task = {"template": "{text}", "relations": [{"kind": "exactly_one", "group": "question"}]}
        search: dict[str, Any] = {"strategy": self.strategy}
        if self.strategy == "paper":
            search |= {"seed_labels": 4, "draws_per_row": self.steps / self.rows}
        else:
            search |= {"anchor_rows": 24, "shard_rows": 8, "initial_rows": 8, "restarts": 2}
        return {"task": task, "search": search, "model": "served" if self.served else "default"}


@dataclass(frozen=True)
class Fault:
    """A fault that happens once this share of the job's steps is committed."""

    kind: Kind
    job: int
    after: float  # 0 to 1
    choice: int  # chooses between possible victims


@dataclass(frozen=True)
class Scale:
    """The size of a plan."""

    paper_jobs: int
    folds_jobs: int
    served_jobs: int  # of strategy `paper`, each with its own inference server
    steps: int
    folds_rows: int
    faults: Mapping[Kind, int]

    @property
    def jobs(self) -> int:
        """The number of jobs."""
        return self.paper_jobs + self.folds_jobs + self.served_jobs


SHORT = Scale(1, 1, 1, steps=40, folds_rows=48, faults={**dict.fromkeys(Kind, 1), Kind.KILL: 2, Kind.STOP: 2})
MIDDLE = Scale(1, 1, 1, steps=60, folds_rows=72, faults={**dict.fromkeys(Kind, 1), Kind.KILL: 4, Kind.STOP: 2})
LONG = Scale(
    paper_jobs=12,
    folds_jobs=6,
    served_jobs=3,
    steps=1000,
    folds_rows=200,
    faults={
        Kind.KILL: 220,
        Kind.STOP: 54,
        Kind.TERM: 15,
        Kind.CUT: 20,
        Kind.BACKEND: 14,
        Kind.POSTMASTER: 10,
        Kind.SHUTDOWN: 10,
        Kind.SCORER: 8,
    },
)
SCALES = {"short": SHORT, "middle": MIDDLE, "long": LONG}


@dataclass(frozen=True)
class Plan:
    """All jobs and all faults."""

    seed: int
    jobs: tuple[JobPlan, ...]
    faults: tuple[Fault, ...]

    @classmethod
    def drawn(cls, seed: int, scale: Scale) -> Self:
        """The plan for this seed."""
        random = Random(f"chaos {seed}")
        jobs = tuple(_jobs(scale, random))
        kinds = [kind for kind, number in scale.faults.items() for _ in range(number)]
        random.shuffle(kinds)
        return cls(seed, jobs, tuple(_faults(jobs, kinds, random)))

    @classmethod
    def read(cls, text: str) -> Self:
        """Parse a printed plan."""
        told = json.loads(text)
        faults = tuple(Fault(Kind(fault.pop("kind")), **fault) for fault in told["faults"])
        return cls(told["seed"], tuple(JobPlan(**job) for job in told["jobs"]), faults)

    def __str__(self) -> str:
        return json.dumps(asdict(self))

    def of_job(self, job: int) -> list[Fault]:
        """The faults of the job in their order."""
        return sorted((fault for fault in self.faults if fault.job == job), key=lambda fault: fault.after)


def _jobs(scale: Scale, random: Random) -> Iterator[JobPlan]:
    """Jobs of all sorts, mixed."""
    sorts = ["paper"] * scale.paper_jobs + ["folds"] * scale.folds_jobs + ["served"] * scale.served_jobs
    random.shuffle(sorts)
    for sort in sorts:
        if sort == "folds":
            yield JobPlan("folds", scale.folds_rows + 2 * random.randrange(8), 0, served=False)
        else:
            yield JobPlan("paper", 2 * random.randint(5, 8), scale.steps, served=sort == "served")


def _faults(jobs: Sequence[JobPlan], kinds: Sequence[Kind], random: Random) -> Iterator[Fault]:
    """Deal the faults out over the jobs by length, and over each job from its beginning to its end."""
    weights = [3 if job.strategy == "paper" else 2 for job in jobs]
    served = [number for number, job in enumerate(jobs) if job.served]
    dealt: dict[int, list[Kind]] = {number: [] for number in range(len(jobs))}
    for kind in kinds:
        dealt[random.choice(served) if kind is Kind.SCORER else _least(dealt, weights)].append(kind)
    for job, those in dealt.items():
        for place, kind in enumerate(those):
            after = LATEST * (place + random.random()) / len(those)
            yield Fault(kind, job, round(after, 4), random.randrange(1_000_000))


def _least(dealt: Mapping[int, Sequence[Kind]], weights: Sequence[int]) -> int:
    """The job with the fewest faults for its length so far."""
    return min(dealt, key=lambda job: (len(dealt[job]) + 1) / weights[job])
