"""Tries whether a server can score labels: finds their tokens and log-probabilities, and whether these repeat."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from service.errors import BackendRefused, LabelUnreachable
from service.scoring.calls.executor import CallExecutor
from service.scoring.calls.gather import together
from service.scoring.tokenization.encoding import Encoder
from service.scoring.tokenization.label_paths import Encode
from service.scoring.tokenization.labels import LabelCall, LabelTokens, find_label_tokens
from service.scoring.wires.wire import NextToken, Prompt, Wire

PROBE_TEXT = "The sky is blue. I think this claim is"
_ENDINGS = ("?", ".", ":", '"', ")", "\n")  # prompt endings other than a letter


@dataclass(frozen=True, slots=True)
class Unreachable:
    """A token without a log-probability: the label's text up to its end, and the prompt before it."""

    text: str
    prompt: str


@dataclass(kw_only=True)
class LabelFindings:
    """The results of the trials of a set of labels; None for a trial that was not reached."""

    refusals: list[str] = field(default_factory=list)
    unreachable: list[Unreachable] = field(default_factory=list)
    other_endings: tuple[str, ...] | None = None  # prompt endings behind which a label has other tokens
    joins: bool | None = None  # texts have the same tokens alone as joined to others
    difference_nats: float | None = None  # between identical calls, alone and concurrent
    calls: int = 0  # needed to score one prompt's labels
    relative: bool = False
    reports_tokens_computed: bool = False


@dataclass(frozen=True, slots=True)
class TriedLabels:
    """The labels that a probe tries, with the options of `Scorer`; `as_text` if prompts are sent as text."""

    labels: Sequence[str]
    all_spellings: bool
    separator: str
    as_text: bool

    async def tokens(self, encode: Encode, behind: str = "") -> LabelTokens:
        """The labels' tokens behind prompts that end with `behind`. Raises BackendError."""
        return await find_label_tokens(
            encode,
            self.labels,
            behind,
            separator=self.separator,
            all_spellings=self.all_spellings,
            as_text=self.as_text,
        )

    async def other_endings(self, encode: Encode, tokens: LabelTokens) -> tuple[str, ...]:
        """Prompt endings behind which the labels have other tokens or none of their own. Raises BackendUnavailable."""
        agreeing = await together(self._agrees(encode, tokens, ending) for ending in _ENDINGS)
        return tuple(ending for ending, agrees in zip(_ENDINGS, agreeing, strict=True) if not agrees)

    async def _agrees(self, encode: Encode, tokens: LabelTokens, ending: str) -> bool:
        try:
            return await self.tokens(encode, ending) == tokens
        except BackendRefused:
            return False


async def try_labels(wire: Wire, executor: CallExecutor, tried: TriedLabels) -> LabelFindings:
    """Encode the labels behind several prompts, score them behind one, and repeat one call to compare.

    Costs one prompt of a dozen tokens per call that the labels need, and three more. Raises BackendUnavailable.
    """
    encoder, found = Encoder(wire, executor), LabelFindings()
    trial = _Trial(wire, executor, encoder)
    try:
        tokens = await tried.tokens(encoder.tokens)
        found.calls = len(tokens.calls)
        found.other_endings = await tried.other_endings(encoder.tokens, tokens)
        found.joins = await encoder.joins()
        await trial.reach(tokens, found)
        await trial.repeat(tokens, found)
    except BackendRefused as refusal:
        found.refusals.append(str(refusal))
    return found


class _Trial:
    """The calls of a trial, and their findings."""

    def __init__(self, wire: Wire, executor: CallExecutor, encoder: Encoder) -> None:
        self._wire = wire
        self._executor = executor
        self._encoder = encoder

    async def reach(self, tokens: LabelTokens, found: LabelFindings) -> None:
        """Score every token of every label; if a call fails, find the tokens without a log-probability one by one."""
        for call in tokens.calls:
            answer = await self._answer(call, call.wanted_ids)
            if answer is not None:
                found.relative |= answer.relative
                found.reports_tokens_computed |= answer.tokens_computed is not None
                continue
            for token in call.wanted:
                if await self._answer(call, [token.id]) is None:
                    found.unreachable.append(Unreachable(token.text, PROBE_TEXT + call.text))

    async def _answer(self, call: LabelCall, wanted: Sequence[int]) -> NextToken | None:
        """The answer; None if one of the wanted tokens has no log-probability."""
        try:
            answer = await self.ask(call, wanted)
        except LabelUnreachable:
            return None
        return answer if all(math.isfinite(answer.by_id.get(token, -math.inf)) for token in wanted) else None

    async def repeat(self, tokens: LabelTokens, found: LabelFindings) -> None:
        """Make the same call alone and twice at once: in a batch, a server may compute in another order."""
        call = tokens.calls[0]
        wanted = call.wanted_ids
        if found.unreachable:
            wanted = [likeliest(await self.ask(call, ()))]
        alone = await self.ask(call, wanted)
        company = await together(self.ask(call, wanted) for _ in range(2))
        found.difference_nats = largest_difference([alone, *company], wanted)

    async def ask(self, call: LabelCall, wanted: Sequence[int]) -> NextToken:
        """The server's answer to the probe's text plus the tokens that the call adds. Raises BackendError."""
        ids = None
        if self._wire.takes_token_ids:
            ids = (*(token.id for token in await self._encoder.tokens(PROBE_TEXT, special=True)), *call.ids)
        prompt = Prompt(PROBE_TEXT + call.text, ids)
        return await self._executor.call(lambda: self._wire.next_token(prompt, wanted), measured=False)


def likeliest(answer: NextToken) -> int:
    """The likeliest of the tokens that the server named. Raises BackendRefused if it named none."""
    if not answer.by_id:
        raise BackendRefused("the server names no token for a prompt")
    return max(answer.by_id, key=lambda token: answer.by_id[token])


def largest_difference(answers: Sequence[NextToken], wanted: Sequence[int]) -> float | None:
    """The largest difference of a wanted token's log-probability between the answers, nats.

    In answers that are shifted by an unknown amount only differences between tokens count; with a single
    token the result is then None.
    """
    rows = [[answer.by_id[token] for token in wanted] for answer in answers]
    if any(answer.relative for answer in answers):
        if len(wanted) < 2:
            return None
        rows = [[value - row[0] for value in row] for row in rows]
    columns: Iterable[tuple[float, ...]] = zip(*rows, strict=True)
    return max(max(column) - min(column) for column in columns)
