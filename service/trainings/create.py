"""Creates a training: writes the jobs' rows as examples, stores these files, and queues the training."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson

from service.access.admission import admit, refuse_early
from service.errors import ArtifactsUnavailable, Fault, IdempotencyMismatch, InvalidConfig, TrainingNotFound
from service.identifiers import JobId, is_training_id, new_training_id
from service.ports.artifacts import Artifacts
from service.ports.bases import Bases
from service.ports.store import ProjectStore, ProjectUnit
from service.records.access import AuditAction, AuditEntry, Size
from service.records.jobs import Job, StoredRequest
from service.records.training_kinds import TrainingKind
from service.records.trainings import Artifact, NewTraining, Training
from service.records.work import Origin
from service.spans import current_traceparent
from service.trainings.base_checks import doubts_of_fit, warnings_of_base
from service.trainings.request import WRONG, TrainingMethod, TrainingRequest
from service.trainings.reward_models import doubts_of_judge, faults_of_bases
from service.trainings.rows import Written, write_rows
from service.trainings.sources import Sources, read_sources
from service.values import by_number, counted, further_spellings, nearest


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingReceipt:
    """The training, and whether an earlier request with the same Idempotency-Key created it."""

    training: Training
    replayed: bool


@dataclass(frozen=True, slots=True)
class _Key:
    """A request's Idempotency-Key, and the hash of the request."""

    key: str
    sha256: str


async def create_training(
    request: TrainingRequest,
    store: ProjectStore,
    artifacts: Artifacts,
    bases: Bases,
    *,
    idempotency_key: str | None,
) -> TrainingReceipt:
    """Check the sources, store the jobs' rows as examples and queue the training.

    Raises InvalidConfig, IdempotencyMismatch, QuotaExceeded, ArtifactsUnavailable and StorageUnavailable.
    """
    key = None if idempotency_key is None else _Key(idempotency_key, request_sha256(request))
    if (replayed := await _replayed(store, key)) is not None:
        return replayed
    sources = await read_sources(store, request)
    base = chosen_base(request, sources, bases)
    doubts = await doubts_of_base(store, request, base, bases)
    async with store.project_unit() as unit:
        await refuse_early(unit, store.quotas, Size(rows=0, bytes=0))
    training_id = new_training_id()
    with TemporaryDirectory(prefix="icm-training-") as folder:
        written = await write_rows(store, request, sources.jobs, Path(folder))
        doubts += await doubts_of_fit(request, base, bases, written)
        async with _stored(artifacts, training_id, Path(folder)) as examples:
            training = NewTraining(
                id=training_id,
                config=request.model_dump(mode="json"),
                base=base,
                spec=spec_of(request, sources.jobs),
                rows=written.rows,
                examples=examples,
                models=sources.model_ids,
                model_jobs=sources.model_jobs,
                warnings=(*warnings_of(request, sources, written), *doubts),
                origin=Origin(request_id=store.caller.request_id, traceparent=current_traceparent()),
            )
            return await _store(store, training, key)


@asynccontextmanager
async def _stored(artifacts: Artifacts, owner: JobId, folder: Path) -> AsyncIterator[Artifact]:
    """Store the folder's files, and remove them if the block that creates their training fails."""
    try:
        yield await artifacts.put(owner, folder)
    except BaseException:
        with suppress(ArtifactsUnavailable):  # if they remain, the sweep removes them
            await artifacts.remove(owner)
        raise


async def _replayed(store: ProjectStore, key: _Key | None) -> TrainingReceipt | None:
    """The training that an earlier request with this key created, if any. Raises IdempotencyMismatch."""
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
    """Hash a request with all its defaults written out, so that equal requests have equal hashes.

    Without a policy the hash is that of releases without policies.
    """
    request_json = request.model_dump(mode="json")
    if request_json["policy"] is None:
        del request_json["policy"]
    canonical = orjson.dumps(request_json, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(b"training\0" + canonical).hexdigest()


async def doubts_of_base(store: ProjectStore, request: TrainingRequest, base: str, bases: Bases) -> tuple[str, ...]:
    """Warnings if the base is another language model than labelled the jobs; none if it cannot be read here."""
    if (identity := await bases.identity(base)) is None:
        return ()
    async with store.project_unit() as unit:
        labelled_by = await unit.trainings.labelled_by([JobId(job_id) for job_id in request.job_ids])
    return warnings_of_base(labelled_by, base, identity)


def chosen_base(request: TrainingRequest, sources: Sources, bases: Bases) -> str:
    """The operator's name of the language model to start from, on which reward models fit. Raises InvalidConfig."""
    base = _named_base(request, sources, bases)
    if faults := list(faults_of_bases(base, sources.reward_models, bases)):
        raise InvalidConfig(WRONG, faults)
    return base


def _named_base(request: TrainingRequest, sources: Sources, bases: Bases) -> str:
    if request.base is not None:
        names = [request.base]
    elif (reward := sources.reward_models.get("reward")) is not None:
        names = [reward.base]
    else:
        names = list(dict.fromkeys(job.config.model for job in sources.jobs))
    if not bases:
        message = "this service has no language models to start from: its operator names them in ICM_TRAINING__BASES"
    elif adapters := [name for name in names if is_training_id(name) and name not in bases]:
        message = (
            f"{adapters[0]} is an adapter, and a training starts from a language model without one; "
            f"there are {', '.join(sorted(bases))}"
        )
    elif len(names) > 1:
        message = f"the jobs were labelled by different models ({', '.join(names)}): name the one to start from"
    elif names[0] not in bases:
        meant = "".join(f" (did you mean {near!r}?)" for near in nearest(names[0], bases))
        message = (
            f"there is no language model {names[0]!r} to start from{meant}; there are {', '.join(sorted(bases))}, "
            "which the operator names in ICM_TRAINING__BASES"
        )
    else:
        return names[0]
    raise InvalidConfig(WRONG, [Fault(message, field="base")])


def spec_of(request: TrainingRequest, jobs: Sequence[Job]) -> dict[str, Any]:
    """The specification for the command, without what a worker adds: base and examples (docs/training.md)."""
    names = ("kind", "method", "rank", "epochs", "learning_rate", "controls", "seed")
    fields = request.model_dump(mode="json")
    spec = {name: fields[name] for name in names} | {name: fields["rows"][name] for name in ("holdout", "weights")}
    if request.kind is TrainingKind.LABEL:
        task = jobs[0].config.task
        every = all(job.config.task.all_spellings for job in jobs)
        spec |= {"labels": list(task.labels), "separator": task.separator}
        if further := further_spellings(task.labels, all_spellings=every):
            spec["spellings"] = further
    if request.policy is not None:
        # Reward models are named by their trainings: a worker has each in a folder of that name.
        spec["policy"] = request.policy.model_dump(mode="json", exclude={"prompt"})
    return spec


def warnings_of(request: TrainingRequest, sources: Sources, written: Written) -> tuple[str, ...]:
    """Warnings about the request and its rows."""
    warnings = [*doubts_of_judge(request, sources.reward_models), *written.doubts]
    if request.method is TrainingMethod.FULL and request.rank != TrainingRequest.model_fields["rank"].default:
        warnings.append("rank has no effect with method full, which trains all weights")
    if written.contradicted:
        warnings.append(
            f"{counted(written.contradicted, 'pair')} {by_number(written.contradicted, 'was', 'were')} left out, "
            "since rows that compare the same two texts disagree"
        )
    return tuple(warnings)
