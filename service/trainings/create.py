"""Takes a training in: its rows are written as examples and stored, then it is queued in one transaction."""

import hashlib
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson

from service.access.admission import admit, refuse_early
from service.errors import ArtifactsUnavailable, Fault, IdempotencyMismatch, InvalidConfig, TrainingNotFound
from service.identifiers import JobId, new_training_id
from service.ports.artifacts import Artifacts
from service.ports.store import ProjectStore, ProjectUnit
from service.records.access import AuditAction, AuditEntry, Size
from service.records.jobs import Job, StoredRequest
from service.records.trainings import Artifact, NewTraining, Training
from service.records.work import Origin
from service.spans import current_traceparent
from service.trainings.request import WRONG, TrainingKind, TrainingMethod, TrainingRequest
from service.trainings.reward_models import doubts_of_judge, faults_of_bases
from service.trainings.rows import Written, write_rows
from service.trainings.sources import Sources, read_sources
from service.values import nearest


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingReceipt:
    """The training, and whether an earlier request with the same Idempotency-Key had made it."""

    training: Training
    replayed: bool


@dataclass(frozen=True, slots=True)
class _Key:
    """A request's Idempotency-Key, and the request's meaning."""

    key: str
    sha256: str


async def create_training(
    request: TrainingRequest,
    store: ProjectStore,
    artifacts: Artifacts,
    bases: Mapping[str, str],
    *,
    idempotency_key: str | None,
) -> TrainingReceipt:
    """Check the sources, store the jobs' rows as examples and queue the training; `bases` are places by their names.

    Raises InvalidConfig, IdempotencyMismatch, QuotaExceeded, ArtifactsUnavailable and StorageUnavailable.
    """
    key = None if idempotency_key is None else _Key(idempotency_key, request_sha256(request))
    if (replayed := await _replayed(store, key)) is not None:
        return replayed
    sources = await read_sources(store, request)
    base = chosen_base(request, sources, bases)
    async with store.project_unit() as unit:
        await refuse_early(unit, store.quotas, Size(rows=0, bytes=0))
    training_id = new_training_id()
    with TemporaryDirectory(prefix="icm-training-") as folder:
        written = await write_rows(store, request, sources.jobs, Path(folder))
        async with _stored(artifacts, training_id, Path(folder)) as examples:
            training = NewTraining(
                id=training_id,
                config=request.model_dump(mode="json"),
                base=base,
                spec=spec_of(request, sources.jobs),
                rows=written.rows,
                examples=examples,
                models=sources.model_ids,
                warnings=warnings_of(request, sources, written),
                origin=Origin(request_id=store.caller.request_id, traceparent=current_traceparent()),
            )
            return await _store(store, training, key)


@asynccontextmanager
async def _stored(artifacts: Artifacts, owner: JobId, folder: Path) -> AsyncIterator[Artifact]:
    """The folder's files, stored; removed again where no training comes to name them."""
    try:
        yield await artifacts.put(owner, folder)
    except BaseException:
        with suppress(ArtifactsUnavailable):  # then the sweep removes them
            await artifacts.remove(owner)
        raise


async def _replayed(store: ProjectStore, key: _Key | None) -> TrainingReceipt | None:
    """The training that the same request has made before, if any. Raises IdempotencyMismatch."""
    if key is None:
        return None
    async with store.project_unit() as unit:
        stored = await unit.idempotency.find(key.key)
        return None if stored is None else await _receipt(unit, stored, key)


async def _receipt(unit: ProjectUnit, stored: StoredRequest, key: _Key) -> TrainingReceipt:
    if stored.sha256 != key.sha256:
        raise IdempotencyMismatch("this Idempotency-Key was used for another request")
    return TrainingReceipt(training=await unit.trainings.get(stored.job_id), replayed=True)


async def _store(store: ProjectStore, training: NewTraining, key: _Key | None) -> TrainingReceipt:
    async with store.project_unit() as unit:
        if key is not None and (earlier := await unit.idempotency.claim(key.key, key.sha256, training.id)) is not None:
            return await _receipt(unit, earlier, key)
        await admit(unit, store.quotas, Size(rows=0, bytes=training.examples.bytes))
        await _hold_models(unit, training)
        await unit.trainings.add(training)
        await unit.audit.record(AuditEntry.by(store.caller, AuditAction.TRAINING_CREATED, training.id))
        return TrainingReceipt(training=await unit.trainings.get(training.id), replayed=False)


async def _hold_models(unit: ProjectUnit, training: NewTraining) -> None:
    """Keep its reward models, until it is stored and keeps them itself. Raises InvalidConfig where one has gone."""
    for field, model in training.models.items():
        try:
            await unit.trainings.hold(model)
        except TrainingNotFound as error:
            raise InvalidConfig(WRONG, [Fault(f"there is no training {model!r}", field=f"policy.{field}")]) from error


def request_sha256(request: TrainingRequest) -> str:
    """Names a request by its meaning: all of it, with every default written out.

    Without a policy it is what a release named that had none.
    """
    told = request.model_dump(mode="json")
    if told["policy"] is None:
        del told["policy"]
    canonical = orjson.dumps(told, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(b"training\0" + canonical).hexdigest()


def chosen_base(request: TrainingRequest, sources: Sources, bases: Mapping[str, str]) -> str:
    """The operator's name of the language model to start from, on which reward models fit. Raises InvalidConfig."""
    base = _named_base(request, sources, bases)
    if faults := list(faults_of_bases(base, sources.reward_models, bases)):
        raise InvalidConfig(WRONG, faults)
    return base


def _named_base(request: TrainingRequest, sources: Sources, bases: Collection[str]) -> str:
    if request.base is not None:
        names = [request.base]
    elif (reward := sources.reward_models.get("reward")) is not None:
        names = [reward.base]
    else:
        names = list(dict.fromkeys(job.config.model for job in sources.jobs))
    if not bases:
        told = "this service has no language models to start from: its operator names them in ICM_TRAINING__BASES"
    elif len(names) > 1:
        told = f"the jobs were labelled by different models ({', '.join(names)}): name the one to start from"
    elif names[0] not in bases:
        meant = "".join(f" (did you mean {near!r}?)" for near in nearest(names[0], bases))
        told = f"there is no language model {names[0]!r} to start from{meant}; there are {', '.join(sorted(bases))}"
    else:
        return names[0]
    raise InvalidConfig(WRONG, [Fault(told, field="base")])


def spec_of(request: TrainingRequest, jobs: Sequence[Job]) -> dict[str, Any]:
    """The specification for the command, without what a worker adds: base and examples (docs/training.md)."""
    names = ("kind", "method", "rank", "epochs", "learning_rate", "controls", "seed")
    asked = request.model_dump(mode="json")
    spec = {name: asked[name] for name in names} | {name: asked["rows"][name] for name in ("holdout", "weights")}
    if request.kind is TrainingKind.LABEL:
        task = jobs[0].config.task
        spec |= {"labels": list(task.labels), "separator": task.separator}
    if request.policy is not None:
        # Reward models are named by their trainings: a worker has each in a folder of that name.
        spec["policy"] = request.policy.model_dump(mode="json", exclude={"prompt"})
    return spec


def warnings_of(request: TrainingRequest, sources: Sources, written: Written) -> tuple[str, ...]:
    """What was doubtful about the request and the rows."""
    told = [*doubts_of_judge(request, sources.reward_models), *written.doubts]
    if request.method is TrainingMethod.FULL and request.rank != TrainingRequest.model_fields["rank"].default:
        told.append("rank has no effect with method full, which trains all weights")
    if written.contradicted:
        told.append(f"{written.contradicted} pairs were left out, since rows that compare the same two texts disagree")
    return tuple(told)
