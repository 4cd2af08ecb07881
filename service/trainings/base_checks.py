"""Compares a training with its base, as far as the base's own files are at hand: a worker finds the same, but later.

What the base does not allow is a fault. A base that did not label the jobs is a warning: a job's labels are those that
its language model finds coherent. Another language model can learn them, but such a training no longer elicits what the
first one knows. A user may want that.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from anyio import to_thread

from service.errors import Fault, InvalidConfig
from service.identifiers import JobId
from service.ports.bases import BaseFacts, Bases
from service.records.training_kinds import TrainingKind
from service.records.trainings import BaseIdentity
from service.trainings.examples import Example
from service.trainings.request import WRONG, PolicyRequest, TrainingMethod, TrainingRequest
from service.trainings.rows import Written

_FINGERPRINT, _COMMIT = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{40}")
_PARTS = 4  # of a backend's fingerprint: kind, model, revision, version of the server
_SHOWN_CHARACTERS = 12  # of a hash
_SHOWN_JOBS = 3
_RATES = {TrainingMethod.LORA: 1e-3, TrainingMethod.FULL: 1e-5}  # the defaults, as training/spec.py has them
_POLICY_RATE = 1e-4
_ABSURD = 30  # times the default is far beyond rates in use


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
        f"job {shown}" if len(jobs) == 1 else f"{len(jobs)} jobs ({shown}{', ...' if len(jobs) > _SHOWN_JOBS else ''})"
    )


async def doubts_of_fit(request: TrainingRequest, base: str, bases: Bases, written: Written) -> tuple[str, ...]:
    """Warnings about a training that its base allows. Raises InvalidConfig for one that would fail before its steps."""
    facts = await bases.facts(base)
    if facts is not None and (
        faults := await to_thread.run_sync(lambda: list(_faults(request, base, facts, written.longest)))
    ):
        raise InvalidConfig(WRONG, faults)
    return tuple(_doubts(request, base, None if facts is None else facts.hidden_size))


def _faults(request: TrainingRequest, base: str, facts: BaseFacts, longest: Sequence[Example]) -> Iterator[Fault]:
    if request.policy is not None:
        yield from _faults_of_policy(request.policy, base, facts)
    completion = 0 if request.policy is None else request.policy.completion_tokens
    context = facts.context_tokens
    if context is None or completion >= context:
        return
    for row in longest:
        taken = max((len(facts.tokens(text, special=True) or ()) for text in _texts(row)), default=0)
        if taken + completion > context:
            yield _too_long(row, f"the context of the base {base!r} is {context} tokens", taken, completion)
            return  # the next ones are shorter


def _too_long(row: Example, context: str, taken: int, completion: int) -> Fault:
    if completion:
        return Fault(
            f"{context}, of which the prompt of row {row.get('id')!r} takes {taken} and its completion up to "
            f"{completion}; lower completion_tokens, or give a shorter policy.prompt",
            field="policy.completion_tokens",
        )
    return Fault(f"{context}, and row {row.get('id')!r} takes {taken}; name a base with a longer one", field="base")


def _faults_of_policy(policy: PolicyRequest, base: str, facts: BaseFacts) -> Iterator[Fault]:
    context = facts.context_tokens
    if context is not None and policy.completion_tokens >= context:
        message = f"leaves no room for a prompt: the base {base!r} reads {context} tokens at once"
        yield Fault(message, field="policy.completion_tokens")
    if policy.stop is not None and (count := _tokens_behind_a_word(facts, policy.stop)) not in {None, 1}:
        message = (
            f"{policy.stop!r} is {count} tokens to the base {base!r}; take a text of one token, such as a line break"
        )
        yield Fault(message, field="policy.stop")


def _tokens_behind_a_word(facts: BaseFacts, text: str) -> int | None:
    """How many tokens the text is behind a word, as the training counts them (training/policy/sampling.py)."""
    before, whole = facts.tokens("a", special=False), facts.tokens(f"a{text}", special=False)
    if before is None or whole is None:
        return None
    return len(whole) - len(before) if list(whole[: len(before)]) == list(before) else len(whole)


def _texts(row: Example) -> list[str]:
    """The whole texts of an example that have to fit the context."""
    prompt = str(row.get("prompt", ""))
    if "chosen" in row:
        return [prompt + str(row[name]) for name in ("chosen", "rejected")]
    return [f"{prompt} {row['label']}" if "label" in row else prompt]


def _doubts(request: TrainingRequest, base: str, hidden_size: int | None) -> Iterator[str]:
    is_lora = request.method is TrainingMethod.LORA
    if is_lora and hidden_size is not None and request.rank > hidden_size:
        yield (
            f"rank {request.rank} is more than the {hidden_size} that the layers of the base {base!r} are wide: "
            "the adapter is larger than what it changes; lower rank, or take method full"
        )
    usual = _POLICY_RATE if request.kind is TrainingKind.POLICY else _RATES[request.method]
    if request.learning_rate is not None and request.learning_rate >= _ABSURD * usual:
        yield (
            f"learning_rate {request.learning_rate:g} is {request.learning_rate / usual:,.0f} times the usual "
            f"{usual:g}: at such rates trainings usually diverge; leave it out, or lower it"
        )
