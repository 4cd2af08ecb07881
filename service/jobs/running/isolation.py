"""Isolates rows that the backend always fails on, and scores all other rows.

A server may fail on one prompt every time: the text meets a defect or a filter, has an impossible label, or crashes the
server. The service names such a row and leaves it without a label. Otherwise the row would pause the job for ever or
make it fail.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext

from service.errors import BackendError, BackendRefused, BackendUnavailable, FailureKind
from service.identifiers import Row
from service.jobs.running.server_crashes import CRASHES, ServerCrashes
from service.search.predictions.prompt_tree import LogProbabilities, PromptTree, Query, TreeScores, Usage
from service.search.prompting.recall import PromptKey, pruned
from service.values import counted

FEW_ROWS = 3  # that may be left out of a shard of any size
FEW_SHARE = 20  # one row in 20 may be left out
TRIES = 2  # failures on a row alone, each followed by an answer to the control
CONTROL_SECONDS = 30.0
CONTROL = PromptTree("", (Query(Row(0), "The sky is blue. I think this claim is"),))

FATAL = (
    "the inference server crashed each time it scored this prompt alone, and answered others in between: its own "
    "log says why. Fewer demonstrations (`search.max_demonstrations`) or another server may help"
)
Score = Callable[[PromptTree], Awaitable[TreeScores]]


class RowsUnscorable(BackendError):
    """The backend fails on the prompts of these rows every time, and has answered everything else."""

    def __init__(self, reasons: Mapping[Row, str]) -> None:
        super().__init__(f"no scores for {counted(len(reasons), 'row')}")
        self.reasons = dict(reasons)


class TooManyUnscorable(BackendError):
    """The backend answers the control prompt but fails on more than a few others; `failure` is its last error."""

    def __init__(self, failure: BackendError) -> None:
        super().__init__(str(failure))
        self.failure = failure


def max_unscorable(rows: int) -> int:
    """The number of rows of a shard that may be left out: a few, at most half of them."""
    return min(max(FEW_ROWS, rows // FEW_SHARE), rows // 2)


class Isolation:
    """Scores the trees of one request without the rows that the backend fails on.

    `reasons` holds those rows with the backend's last error, at most `most` rows. After the backend has crashed during
    a call, it makes one call at a time, since any of several concurrent calls may have caused the crash. `crashes` has
    the suspects from before earlier pauses of the job, and `scored` adds those of this request.
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

    async def scored(
        self, tree: PromptTree, keys: Mapping[Row, PromptKey], collect: Callable[[TreeScores], None]
    ) -> None:
        """Score every row of the tree that the backend can score, and pass each part's scores to `collect`.

        Raises the backend's error if it fails on the control prompt, too, and TooManyUnscorable.
        """
        parts = self._without_suspects(tree, keys)
        while parts:
            part, alone = parts.pop(), self._has_died
            try:
                collect(await self._score_part(part, alone=alone))
            except BackendError as error:
                alone = alone or not self._under_way
                if _broke(error):
                    self._crashes.note((keys[row] for row in _unanswered_rows(part, error)), alone=alone)
                if not _may_be_prompts_fault(error) or not await self._answers_control():
                    raise
                collect(_answered(error))
                self._has_died = self._has_died or _died(error)
                rows, suspects_others = _unanswered_rows(part, error), _died(error) and not alone
                parts += _parts(part, [rows] if suspects_others else self._divided(rows, error))

    def _without_suspects(self, tree: PromptTree, keys: Mapping[Row, PromptKey]) -> list[PromptTree]:
        """The tree in parts, in reverse order: first the rows that are no suspects, then each suspect alone.

        Suspects with fewer crashes come first. Otherwise crashes that another client's prompt causes meanwhile would
        always count against the same suspect. Raises TooManyUnscorable.
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
        return _parts(tree, [*([row] for row in alone), [row for row, key in keys.items() if key not in suspects]])

    async def _score_part(self, part: PromptTree, *, alone: bool) -> TreeScores:
        async with self._alone if alone else nullcontext():
            self._under_way += 1
            try:
                return await self._score(part)
            finally:
                self._under_way -= 1

    def _divided(self, rows: Sequence[Row], error: BackendError) -> list[Sequence[Row]]:
        """The groups in which to score the unanswered rows of a failed part, in reverse order."""
        named = error.row in rows and not _died(error)  # a crash fails all concurrent calls
        faulty = Row(error.row) if named and error.row is not None else rows[0] if len(rows) == 1 else None
        if faulty is None:
            half = len(rows) // 2
            return [rows[half:], rows[:half]]
        again = self._should_retry(faulty, error)
        return [[faulty] if again else [], [row for row in rows if row != faulty]]

    def _should_retry(self, row: Row, error: BackendError) -> bool:
        """Whether to score the row once more, alone. Raises TooManyUnscorable."""
        self._failures[row] += 1
        if self._failures[row] < (CRASHES if _died(error) else TRIES):
            return True
        self._give_up(row, error)
        return False

    def _give_up(self, row: Row, error: BackendError) -> None:
        if len(self.reasons) >= self._most:
            raise TooManyUnscorable(error) from error
        self.reasons[row] = str(error)

    async def _answers_control(self) -> bool:
        """Whether the backend answers the control prompt, which has nothing to do with the data set."""
        try:
            async with asyncio.timeout(CONTROL_SECONDS):
                await self._score(CONTROL)
        except (BackendError, TimeoutError):
            return False
        return True


def _may_be_prompts_fault(error: BackendError) -> bool:
    """Whether one prompt may have caused the error. A full queue or another model is never a prompt's fault."""
    if isinstance(error, BackendUnavailable):
        return error.kind is not FailureKind.OVERLOADED
    return isinstance(error, BackendRefused)


def _died(error: BackendError) -> bool:
    return isinstance(error, BackendUnavailable) and error.died


def _broke(error: BackendError) -> bool:
    return isinstance(error, BackendUnavailable) and error.broke


def _parts(tree: PromptTree, groups: Iterable[Sequence[Row]]) -> list[PromptTree]:
    """The parts of the tree with these groups of rows; none for an empty group."""
    return [part for rows in groups if (part := pruned(tree, dict.fromkeys(rows))) is not None]


def _unanswered_rows(part: PromptTree, error: BackendError) -> list[Row]:
    return [row for row, _ in part.prompts() if row not in error.answered]


def _answered(error: BackendError) -> TreeScores:
    """The scores that the backend returned before the error."""
    scores: dict[Row, LogProbabilities] = {Row(row): values for row, values in error.answered.items()}
    return TreeScores(scores, Usage(prompts=len(scores)))
