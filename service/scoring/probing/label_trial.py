"""Finds out whether a server can score labels: their tokens, their log-probabilities, and whether these stay."""

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
_ENDINGS = ("?", ".", ":", '"', ")", "\n")  # other ends of a prompt than a letter


@dataclass(frozen=True, slots=True)
class Unreachable:
    """A token without a log-probability: the label up to and with it, and the prompt asked after."""

    text: str
    prompt: str


@dataclass(kw_only=True)
class LabelFindings:
    """What the trials of a set of labels found; None where they did not come so far."""

    refusals: list[str] = field(default_factory=list)
    unreachable: list[Unreachable] = field(default_factory=list)
    other_endings: tuple[str, ...] | None = None  # behind which a label has other tokens
    joins: bool | None = None  # text is split alike whatever stands before the separator
    difference_nats: float | None = None  # between identical calls, alone and in company
    calls: int = 0  # that decide a prompt's labels
    relative: bool = False
    reports_tokens_computed: bool = False


@dataclass(frozen=True, slots=True)
class AskedLabels:
    """What a probe is to try: a task's labels, as `Scorer` has them; `as_text` where prompts are sent so."""

    labels: Sequence[str]
    all_spellings: bool
    separator: str
    as_text: bool


@dataclass(frozen=True, slots=True)
class Finder:
    """Finds the tokens of labels."""

    encode: Encode
    asked: AskedLabels

    async def behind(self, ending: str = "") -> LabelTokens:
        """The labels' tokens behind prompts that end so. Raises BackendError."""
        return await find_label_tokens(
            self.encode,
            self.asked.labels,
            ending,
            separator=self.asked.separator,
            all_spellings=self.asked.all_spellings,
            as_text=self.asked.as_text,
        )

    async def other_endings(self, tokens: LabelTokens) -> tuple[str, ...]:
        """Ends of prompts behind which the labels' tokens are others, or part of the end. Raises BackendUnavailable."""
        agreeing = await together(self._agrees(tokens, ending) for ending in _ENDINGS)
        return tuple(ending for ending, agrees in zip(_ENDINGS, agreeing, strict=True) if not agrees)

    async def _agrees(self, tokens: LabelTokens, ending: str) -> bool:
        try:
            return await self.behind(ending) == tokens
        except BackendRefused:
            return False


async def try_labels(wire: Wire, executor: CallExecutor, asked: AskedLabels) -> LabelFindings:
    """Encode the labels behind several prompts and score them after one, some of it repeatedly.

    Costs a prompt of a dozen tokens for each token that labels begin with, and three more. Raises BackendUnavailable.
    """
    encoder, found = Encoder(wire, executor), LabelFindings()
    finder = Finder(encoder.tokens, asked)
    trial = _Trial(wire, executor, encoder)
    try:
        tokens = await finder.behind()
        found.calls = len(tokens.calls)
        found.other_endings = await finder.other_endings(tokens)
        found.joins = await encoder.joins()
        await trial.reach(tokens, found)
        await trial.repeat(tokens, found)
    except BackendRefused as refusal:
        found.refusals.append(str(refusal))
    return found


class _Trial:
    def __init__(self, wire: Wire, executor: CallExecutor, encoder: Encoder) -> None:
        self._wire = wire
        self._executor = executor
        self._encoder = encoder

    async def reach(self, tokens: LabelTokens, found: LabelFindings) -> None:
        """Ask for every token of every label; those without a log-probability are found one by one."""
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
        """None where one of the wanted tokens has no log-probability."""
        try:
            answer = await self.ask(call, wanted)
        except LabelUnreachable:
            return None
        return answer if all(math.isfinite(answer.by_id.get(token, -math.inf)) for token in wanted) else None

    async def repeat(self, tokens: LabelTokens, found: LabelFindings) -> None:
        """One call by itself and two at once, all the same: in company a server may compute in another order."""
        call = tokens.calls[0]
        wanted = call.wanted_ids
        if found.unreachable:
            wanted = [likeliest(await self.ask(call, ()))]
        alone = await self.ask(call, wanted)
        company = await together(self.ask(call, wanted) for _ in range(2))
        found.difference_nats = largest_difference([alone, *company], wanted)

    async def ask(self, call: LabelCall, wanted: Sequence[int]) -> NextToken:
        """The server's answer after the probe's text and what the call adds to it. Raises BackendError."""
        ids = None
        if self._wire.takes_token_ids:
            ids = (*(token.id for token in await self._encoder.tokens(PROBE_TEXT, special=True)), *call.ids)
        prompt = Prompt(PROBE_TEXT + call.text, ids)
        return await self._executor.call(lambda: self._wire.next_token(prompt, wanted), measured=False)


def likeliest(answer: NextToken) -> int:
    """The likeliest of the tokens that the server named. Raises BackendRefused where it named none."""
    if not answer.by_id:
        raise BackendRefused("the server names no token for a prompt")
    return max(answer.by_id, key=lambda token: answer.by_id[token])


def largest_difference(answers: Sequence[NextToken], wanted: Sequence[int]) -> float | None:
    """By how many nats a wanted token's log-probability differs between answers, at most.

    Of answers that are shifted by an unknown amount only differences between tokens count:
    None where there is one token.
    """
    rows = [[answer.by_id[token] for token in wanted] for answer in answers]
    if any(answer.relative for answer in answers):
        if len(wanted) < 2:
            return None
        rows = [[value - row[0] for value in row] for row in rows]
    columns: Iterable[tuple[float, ...]] = zip(*rows, strict=True)
    return max(max(column) - min(column) for column in columns)
