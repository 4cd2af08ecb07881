"""Compares the base of a training with the language models that labelled its jobs.

The labels of a language model are what it finds coherent itself: another one may learn them, but then the training
elicits nothing of what the labels came from. That may be wanted, so it is a warning and no refusal.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from service.identifiers import JobId
from service.records.trainings import BaseIdentity

_FINGERPRINT, _COMMIT = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{40}")
_PARTS = 4  # of a backend's fingerprint: kind, model, revision, version of the server
_SHOWN_CHARACTERS = 12  # of a hash
_SHOWN_JOBS = 3


@dataclass(frozen=True, slots=True)
class _Labeller:
    """A language model as the server that had it named it."""

    model: str
    revision: str


def warnings_of_base(labelled_by: Mapping[JobId, str], name: str, base: BaseIdentity) -> tuple[str, ...]:
    """One warning for each model that labelled jobs and is not the base of this name, or may be another one.

    `labelled_by` has the fingerprint of each job's backend. Nothing is said where both may well be the same.
    """
    jobs: dict[_Labeller, list[JobId]] = {}
    for job_id, fingerprint in labelled_by.items():
        if (labeller := _labeller(fingerprint)) is not None:
            jobs.setdefault(labeller, []).append(job_id)
    return tuple(
        f"the base {name!r} ({_shown(base.name, hash_)}) {told}, which labelled {_listed(jobs[labeller])}: "
        "the training starts from another language model than the one whose labels it learns. If you do not want that, "
        "give another base, or have the operator correct ICM_TRAINING__BASES"
        for labeller in jobs
        for told, hash_ in _differences(labeller, base)
    )


def _labeller(fingerprint: str) -> _Labeller | None:
    """What a backend's fingerprint says; None of a backend that has no language model."""
    kind, *rest = fingerprint.split("|", 1)
    parts = [kind, *rest[0].rsplit("|", 2)] if rest else []
    if len(parts) != _PARTS or parts[1] in ("", "None"):
        return None
    model = PurePosixPath(parts[1]).name if parts[1].startswith("/") else parts[1]  # where it lies is nobody's business
    return _Labeller(model, parts[2].partition(" ")[0])


def _differences(labeller: _Labeller, base: BaseIdentity) -> Iterator[tuple[str, str]]:
    """How the base differs, with the hash of it that was compared, if any."""
    for form, own in ((_FINGERPRINT, base.fingerprint), (_COMMIT, base.revision)):
        if form.fullmatch(labeller.revision) and own is not None:
            if labeller.revision != own:
                yield f"is not {_shown(labeller.model, labeller.revision)}", own
            return
    if not any(_alike(named, base.name) for named in (labeller.model, labeller.revision)):
        yield f"seems not to be {labeller.model!r}, as its server called it", ""


def _alike(one: str, other: str) -> bool:
    """Whether a name, or the last part of a path, has the other in it."""
    first, second = (PurePosixPath(name).name.casefold() for name in (one, other))
    return bool(first and second) and (first in second or second in first)


def _shown(name: str, hash_: str) -> str:
    return f"{name!r}, {hash_[:_SHOWN_CHARACTERS]}" if hash_ else repr(name)


def _listed(jobs: list[JobId]) -> str:
    shown = ", ".join(jobs[:_SHOWN_JOBS])
    return (
        f"job {shown}" if len(jobs) == 1 else f"{len(jobs)} jobs ({shown}{', ...' if len(jobs) > _SHOWN_JOBS else ''})"
    )
