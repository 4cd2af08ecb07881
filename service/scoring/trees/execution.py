"""Makes the calls that score one prompt tree, and collects their answers."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

from service.errors import BackendError, LabelUnreachable
from service.identifiers import Row
from service.scoring.calls.executor import CallExecutor
from service.scoring.calls.gather import together
from service.scoring.probing.identity import CANARY_PROMPTS
from service.scoring.tokenization.label_paths import Ids
from service.scoring.tokenization.labels import LabelCall, LabelTokens
from service.scoring.trees.cost import CostTally
from service.scoring.trees.flat_tree import FlatTree
from service.scoring.trees.tree_ids import TreeIds
from service.scoring.trees.warmup_schedule import Group
from service.scoring.wires.wire import ManyWire, NextToken, Prompt, Wire
from service.search.predictions.prompt_tree import LogProbabilities

FEWEST_TOGETHER = 8  # at least this many queries are worth one call for all of them
_MOST_TOGETHER = 64  # so that a failed call does not lose much, and concurrency can adapt


class TreeExecution:
    """Scores the leaves of a prompt tree, with the label tokens of each; without `ids` it sends the prompts as text."""

    def __init__(
        self,
        tree: FlatTree,
        labels: Sequence[LabelTokens],
        ids: TreeIds | None,
        wire: Wire,
        executor: CallExecutor,
    ) -> None:
        self._tree = tree
        self._labels = labels
        self._ids = ids
        self._wire = wire
        self._executor = executor
        self._control = partial(wire.next_token, Prompt(CANARY_PROMPTS[0]), ())
        self._known: list[dict[Ids, Mapping[int, float]]] = [{} for _ in tree.leaves]
        self.tally = CostTally(tree)

    def answered(self) -> dict[Row, LogProbabilities]:
        """The log-probabilities of the labels, for each leaf whose calls have all been answered."""
        return {
            leaf.row: labels.log_probabilities(known)
            for leaf, labels, known in zip(self._tree.leaves, self._labels, self._known, strict=True)
            if all(call.ids in known for call in labels.calls)
        }

    def grouped(self, leaves: Group) -> list[Group]:
        """Group the leaves behind one segment: many per call if the server and the labels allow it."""
        by_labels = defaultdict[LabelTokens, list[int]](list)
        for leaf in leaves:
            by_labels[self._labels[leaf]].append(leaf)
        groups = list[Group]()
        for labels, own in by_labels.items():
            together_at_most = _MOST_TOGETHER if len(own) >= FEWEST_TOGETHER and self._takes_many(labels) else 1
            groups += [own[start : start + together_at_most] for start in range(0, len(own), together_at_most)]
        return groups

    async def ask(self, group: Group, warm: Callable[[], None]) -> None:
        """Make the calls for these leaves. Raises BackendError; LabelUnreachable if a token has no score."""
        first, *others = self._labels[group[0]].calls
        if len(group) == 1:
            await self._ask_one(group[0], first)
        else:
            await self._ask_many(group, first)
        warm()
        await together(self._ask_one(leaf, call) for leaf in group for call in others)

    def _takes_many(self, labels: LabelTokens) -> bool:
        return self._ids is not None and isinstance(self._wire, ManyWire) and len(labels.calls) == 1

    async def _ask_one(self, leaf: int, call: LabelCall) -> None:
        prompt = self._prompt(leaf, call)
        attempt = partial(self._wire.next_token, prompt, call.wanted_ids)
        with self._about(leaf):
            with self._named(leaf, call):
                answer = await self._executor.call(attempt, control=self._control)
            self._take(leaf, call, answer)

    async def _ask_many(self, group: Group, call: LabelCall) -> None:
        if self._ids is None or not isinstance(self._wire, ManyWire):
            raise TypeError("the wire takes one query at a time")
        beginning = tuple(self._ids.before(self._tree.leaves[group[0]].segment))
        items = [tuple(self._ids.leaves[leaf]) for leaf in group]
        attempt = partial(self._wire.next_tokens, beginning, items, call.wanted_ids)
        with self._named(group[0], call):
            answers = await self._executor.call(attempt, control=self._control)
        for leaf, answer in zip(group, answers, strict=True):
            with self._about(leaf):
                self._take(leaf, call, answer)

    def _prompt(self, leaf: int, call: LabelCall) -> Prompt:
        text = self._tree.prompt(leaf) + call.text
        return Prompt(text, None if self._ids is None else (*self._ids.prompt(leaf), *call.ids))

    def _take(self, leaf: int, call: LabelCall, answer: NextToken) -> None:
        """Keep an answer that scores every wanted token. Raises LabelUnreachable if a score is missing or unusable."""
        for token in call.wanted:
            if not math.isfinite(answer.by_id.get(token.id, -math.inf)):
                raise LabelUnreachable(f"no log-probability for {token.text!r} after {self._end(leaf, call)!r}")
        if answer.relative and len(self._labels[leaf].calls) > 1:
            raise LabelUnreachable(
                f"only differences of log-probabilities are known after {self._end(leaf, call)!r}, "
                "and the labels are not decided by one token"
            )
        self._known[leaf][call.ids] = answer.by_id
        self.tally.add(leaf, call, answer)

    @contextmanager
    def _about(self, leaf: int) -> Iterator[None]:
        """Add this leaf's row to errors raised within."""
        try:
            yield
        except BackendError as error:
            error.row = self._tree.leaves[leaf].row
            raise

    @contextmanager
    def _named(self, leaf: int, call: LabelCall) -> Iterator[None]:
        """Add the tokens' texts to LabelUnreachable raised within, since wires only know token ids."""
        try:
            yield
        except LabelUnreachable as error:
            texts = ", ".join(repr(token.text) for token in call.wanted)
            raise LabelUnreachable(f"{error} (one of {texts} after {self._end(leaf, call)!r})") from error

    def _end(self, leaf: int, call: LabelCall) -> str:
        return self._tree.last_characters(leaf, 80) + call.text
