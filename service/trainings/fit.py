"""Compares a training with its base, as far as the base's own files are at hand: a worker finds the same, but later."""

from collections.abc import Iterator, Sequence

from anyio import to_thread

from service.errors import Fault, InvalidConfig
from service.ports.bases import BaseFacts, Bases
from service.records.training_kinds import TrainingKind
from service.trainings.examples import Example
from service.trainings.request import WRONG, PolicyRequest, TrainingMethod, TrainingRequest
from service.trainings.rows import Written

_RATES = {TrainingMethod.LORA: 1e-3, TrainingMethod.FULL: 1e-5}  # the defaults, as training/spec.py has them
_POLICY_RATE = 1e-4
_ABSURD = 30  # times the default is far beyond rates in use


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
