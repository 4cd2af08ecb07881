"""Tells a row that the backend always fails on from a backend that is ill, and goes on with all other rows.

A server may fail on one prompt each time: its text meets a defect, a filter or an impossible label, or ends the server
itself. Such a row is named and left without a label; were it not told apart, it would pause the job for ever or fail
all of it.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext

from service.errors import BackendError, BackendRefused, BackendUnavailable, FailureKind
from service.identifiers import Row
from service.jobs.running.server_crashes import CRASHES, ServerCrashes
from service.search.predictions.prompt_tree import LogProbabilities, PromptTree, Query, TreeScores, Usage
from service.search.prompting.recall import PromptKey, pruned

FEW_ROWS = 3  # that may be left out of a shard of any size
FEW_SHARE = 20  # one row in so many may be
TRIES = 2  # in vain, by a backend that answers the control after each
CONTROL_SECONDS = 30.0
CONTROL = PromptTree("", (Query(Row(0), "The sky is blue. I think this claim is"),))

FATAL = (
    "the inference server crashed each time it was asked for this prompt alone, and answers others in between: its own "
    "log says why. Fewer demonstrations (`search.max_demonstrations`) or another server may help"
)
Score = Callable[[PromptTree], Awaitable[TreeScores]]


class RowsUnscorable(BackendError):
    """The backend is well but fails on the prompts of these rows each time; everything else was answered."""

    def __init__(self, reasons: Mapping[Row, str]) -> None:
        super().__init__(f"no scores for {len(reasons)} rows")
        self.reasons = dict(reasons)


class TooManyUnscorable(BackendError):
    """The backend answers a control but fails on more prompts than a few; `failure` is the last of its errors."""

    def __init__(self, failure: BackendError) -> None:
        super().__init__(str(failure))
        self.failure = failure


def most_unscorable(rows: int) -> int:
    """How many rows of a shard may be left out: a few, and never more than half of it."""
    return min(max(FEW_ROWS, rows // FEW_SHARE), rows // 2)


class Isolation:
    """Scores trees apart from the rows that the backend fails on; one for all trees of a request.

    `reasons` has those rows with what the backend said last, at most `most` of them. Once the backend has died over
    a call, one call at a time is made, since whoever is under way then is suspected. `crashes` has the suspects of
    earlier pauses and gets those of this request.
    """

    def __init__(self, score: Score, *, most: int, crashes: ServerCrashes, has_died: bool = False) -> None:
        self._score = score
        self._most = most
        self._crashes = crashes
        self._failures = Counter[Row]()
        self._has_died = has_died
        self._alone = asyncio.Lock()
        self._under_way = 0
        self.reasons: dict[Row, str] = {}

    async def scored(self, tree: PromptTree, keys: Mapping[Row, PromptKey], took: Callable[[TreeScores], None]) -> None:
        """Have every row of the tree scored that can be, part by part, `took` being told of each part.

        Raises the backend's own error where it is ill, and TooManyUnscorable.
        """
        parts = self._without_suspects(tree, keys)
        while parts:
            part, alone = parts.pop(), self._has_died
            try:
                took(await self._asked(part, alone=alone))
            except BackendError as error:
                alone = alone or not self._under_way
                if _broke(error):
                    self._crashes.note((keys[row] for row in _unanswered_rows(part, error)), alone=alone)
                if not _may_be_of_a_prompt(error) or not await self._is_well():
                    raise
                took(_answered(error))
                self._has_died = self._has_died or _died(error)
                suspects_others = _died(error) and not alone
                parts += self._unanswered(part, error) if suspects_others else self._left(part, error)

    def _without_suspects(self, tree: PromptTree, keys: Mapping[Row, PromptKey]) -> list[PromptTree]:
        """The tree in parts, the last one first: what nobody suspects, and each suspect by itself.

        Those accused least come first: what another client's prompt does to the server accuses always the same prompt
        otherwise. Raises TooManyUnscorable.
        """
        suspects = self._crashes.suspects(keys.values())
        if not suspects:
            return [tree]
        alone = []
        for row, key in keys.items():
            if self._crashes.is_fatal(key):
                self._give_up(row, BackendRefused(FATAL))
            elif key in suspects:
                alone.append(row)
        alone.sort(key=lambda row: -self._crashes.counts[keys[row]])
        groups = [*([row] for row in alone), [row for row, key in keys.items() if key not in suspects]]
        return [part for group in groups if (part := pruned(tree, dict.fromkeys(group))) is not None]

    async def _asked(self, part: PromptTree, *, alone: bool) -> TreeScores:
        async with self._alone if alone else nullcontext():
            self._under_way += 1
            try:
                return await self._score(part)
            finally:
                self._under_way -= 1

    def _unanswered(self, part: PromptTree, error: BackendError) -> list[PromptTree]:
        """The part once more, without the rows that were answered."""
        left = pruned(part, dict.fromkeys(_unanswered_rows(part, error)))
        return [] if left is None else [left]

    def _left(self, part: PromptTree, error: BackendError) -> list[PromptTree]:
        """What is still to be asked of a part that failed, the last one first."""
        rows = _unanswered_rows(part, error)
        named = error.row in rows and not _died(error)  # a server that dies fails on all that is under way
        faulty = Row(error.row) if named and error.row is not None else rows[0] if len(rows) == 1 else None
        if faulty is None:
            half = len(rows) // 2
            groups = [rows[half:], rows[:half]]
        else:
            again = self._again(faulty, error)
            groups = [[faulty] if again else [], [row for row in rows if row != faulty]]
        return [left for group in groups if (left := pruned(part, dict.fromkeys(group))) is not None]

    def _again(self, row: Row, error: BackendError) -> bool:
        """Whether the row is asked for once more, by itself. Raises TooManyUnscorable."""
        self._failures[row] += 1
        if self._failures[row] < (CRASHES if _died(error) else TRIES):
            return True
        self._give_up(row, error)
        return False

    def _give_up(self, row: Row, error: BackendError) -> None:
        if len(self.reasons) >= self._most:
            raise TooManyUnscorable(error) from error
        self.reasons[row] = str(error)

    async def _is_well(self) -> bool:
        """Whether the backend answers a prompt that has nothing to do with the data set."""
        try:
            async with asyncio.timeout(CONTROL_SECONDS):
                await self._score(CONTROL)
        except (BackendError, TimeoutError):
            return False
        return True


def _may_be_of_a_prompt(error: BackendError) -> bool:
    """Whether it could be one prompt's fault. That of a full queue, or of another model, it never is."""
    if isinstance(error, BackendUnavailable):
        return error.kind is not FailureKind.OVERLOADED
    return isinstance(error, BackendRefused)


def _died(error: BackendError) -> bool:
    return isinstance(error, BackendUnavailable) and error.died


def _broke(error: BackendError) -> bool:
    return isinstance(error, BackendUnavailable) and error.broke


def _unanswered_rows(part: PromptTree, error: BackendError) -> list[Row]:
    return [row for row, _ in part.prompts() if row not in error.answered]


def _answered(error: BackendError) -> TreeScores:
    """What was answered before the error came."""
    scores: dict[Row, LogProbabilities] = {Row(row): values for row, values in error.answered.items()}
    return TreeScores(scores, Usage(prompts=len(scores)))
