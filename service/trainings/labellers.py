"""Compares the base of a training with the language models that labelled its jobs.

A job's labels are those that its language model finds coherent. Another language model can learn them, but such a
training no longer elicits what the first one knows. A user may want that, so the result is a warning, not a fault.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from service.identifiers import JobId
from service.records.trainings import BaseIdentity
from service.values import counted

_FINGERPRINT, _COMMIT = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{40}")
_PARTS = 4  # of a backend's fingerprint: kind, model, revision, version of the server
_SHOWN_CHARACTERS = 12  # of a hash
_SHOWN_JOBS = 3


@dataclass(frozen=True, slots=True)
class _Labeller:
    """A language model by the name and revision that its server reported."""

    model: str
    revision: str


def warnings_of_base(labelled_by: Mapping[JobId, str], name: str, base: BaseIdentity) -> tuple[str, ...]:
    """One warning for each model that labelled jobs and is not, or seems not to be, the base of this name.

    `labelled_by` has the fingerprint of each job's backend.
    """
    jobs: dict[_Labeller, list[JobId]] = {}
    for job_id, fingerprint in labelled_by.items():
        if (labeller := _labeller(fingerprint)) is not None:
            jobs.setdefault(labeller, []).append(job_id)
    return tuple(
        f"the base {name!r} ({_shown(base.name, hash_)}) {difference}, which labelled {_listed(jobs[labeller])}: "
        "the training starts from another language model than the one whose labels it learns. If you do not want that, "
        "give another base, or have the operator correct ICM_TRAINING__BASES"
        for labeller in jobs
        for difference, hash_ in _differences(labeller, base)
    )


def _labeller(fingerprint: str) -> _Labeller | None:
    """The language model in a backend's fingerprint; None for a backend without a language model."""
    kind, *rest = fingerprint.split("|", 1)
    parts = [kind, *rest[0].rsplit("|", 2)] if rest else []
    if len(parts) != _PARTS or parts[1] in ("", "None"):
        return None
    model = PurePosixPath(parts[1]).name if parts[1].startswith("/") else parts[1]  # the path stays private
    return _Labeller(model, parts[2].partition(" ")[0])


def _differences(labeller: _Labeller, base: BaseIdentity) -> Iterator[tuple[str, str]]:
    """How the base differs, with its hash if hashes were compared."""
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
        f"job {shown}"
        if len(jobs) == 1
        else f"{counted(len(jobs), 'job')} ({shown}{', ...' if len(jobs) > _SHOWN_JOBS else ''})"
    )
