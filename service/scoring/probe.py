"""Finds out what a server is and whether it can score a set of labels."""

from collections.abc import Sequence

from service.errors import BackendError
from service.ports import BackendInfo
from service.scoring.driving import Driver
from service.scoring.encoding import Encoder
from service.scoring.identity import described, not_ready
from service.scoring.labels import find_label_tokens
from service.scoring.wire import NextToken, Prompt, Wire

PROBE_PROMPT = Prompt("The sky is blue. I think this claim is")
_STABLE_NATS = 0.25  # two identical calls differ by less, even in half precision


async def examine(
    name: str, wire: Wire, driver: Driver, labels: Sequence[str] = (), *, all_spellings: bool = False
) -> BackendInfo:
    """Ask for the server's facts and score one prompt twice; what is wrong is in the answer's problems."""
    try:
        facts = await driver.call(wire.facts)
        wanted = await _wanted(wire, driver, labels, all_spellings=all_spellings)
        first, again = [await driver.call(lambda: wire.next_token(PROBE_PROMPT, wanted)) for _ in range(2)]
    except BackendError as error:
        return not_ready(name, wire.kind, error)
    problems = [*facts.problems, *_problems(first, again, wanted)]
    return described(name, wire.kind, facts, problems, reports_tokens_computed=first.tokens_computed is not None)


async def _wanted(wire: Wire, driver: Driver, labels: Sequence[str], *, all_spellings: bool) -> list[int]:
    """The first tokens of the labels. Raises BackendError."""
    if not labels:
        return []
    found = await find_label_tokens(
        Encoder(wire, driver).tokens, labels, all_spellings=all_spellings, as_text=not wire.takes_token_ids
    )
    return found.calls[0].wanted_ids


def _problems(first: NextToken, again: NextToken, wanted: Sequence[int]) -> list[str]:
    if not set(wanted) <= set(first.by_id) & set(again.by_id):
        return ["the server gives no log-probability for some of the labels"]
    if any(abs(first.by_id[token] - again.by_id[token]) > _STABLE_NATS for token in wanted or first.by_id):
        return ["two identical calls gave different log-probabilities"]
    return []
