"""Scores prompt trees through any wire: each call generates one token, and the chain rule gives the labels' scores.

No call asks for log-probabilities of the prompt, since they defeat every server's prefix cache.
If the server takes token ids, each text of a tree is encoded once and the prompts are joined from
these ids. So prompts share exactly the same tokens, whatever the server adds to a text.
"""

from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from cachetools import LRUCache

from service.errors import BackendError, BackendRefused
from service.records.scoring import BackendIdentity, BackendInfo
from service.scoring.calls.executor import CallExecutor
from service.scoring.calls.gather import together
from service.scoring.probing.identity import CANARY_PROMPTS, Canary, Recognition
from service.scoring.probing.probe import Examiner
from service.scoring.tokenization.encoding import Encoder
from service.scoring.tokenization.labels import LabelTokens, find_label_tokens
from service.scoring.trees.execution import TreeExecution
from service.scoring.trees.flat_tree import FlatTree, flatten
from service.scoring.trees.tree_ids import encode_tree
from service.scoring.trees.warmup_schedule import WORTH_A_ROUND_CHARACTERS, WarmupSchedule
from service.scoring.wires.adapters import AdapterWire, LoadableAdapter
from service.scoring.wires.detection import DetectKind
from service.scoring.wires.wire import Prompt, Wire
from service.search.predictions.prompt_tree import (
    ENDING_CHARACTERS,
    LogProbabilities,
    PromptTree,
    TreeScores,
    ending,
)

_REMEMBERED_LABELS = 1_000
_AHEAD = 2  # groups queued at the executor per slot, so that a free slot never waits for the next group


class PromptScorer:
    """Scores by a server behind a wire; the executor makes every attempt. `detect` is the probe's (see `Examiner`)."""

    def __init__(
        self,
        name: str,
        wire: Wire,
        executor: CallExecutor,
        *,
        detect: DetectKind | None = None,
        worth_characters: int = WORTH_A_ROUND_CHARACTERS,
    ) -> None:
        self._name = name
        self._wire = wire
        self._executor = executor
        self._detect = detect
        self._examine = Examiner(name, wire, executor, detect)
        self._worth_characters = worth_characters
        self._encoder = Encoder(wire, executor)
        self._labels = LRUCache[tuple[object, ...], LabelTokens](_REMEMBERED_LABELS)
        facts = partial(executor.call, wire.facts, measured=False)
        self._recognition = Recognition(wire.kind.name, executor, facts=facts, canary=self._canary)

    def adapted(self, adapter: LoadableAdapter) -> "PromptScorer":
        """The scorer of the same server with a trained adapter, over the same connections.

        Raises AdapterRefused for a kind of server that loads none while it runs.
        """
        kind = self._wire.kind
        if not isinstance(self._wire, AdapterWire):
            raise adapter.refused(f"{kind.title} loads no adapters while it runs; {kind.without_adapters}")
        return PromptScorer(
            self._name,
            self._wire.adapted(adapter),
            self._executor,
            detect=self._detect,
            worth_characters=self._worth_characters,
        )

    async def probe(
        self, labels: Sequence[str] = (), *, all_spellings: bool = False, separator: str = ""
    ) -> BackendInfo:
        """Examine the server and whether it can score these labels."""
        return await self._examine(labels, all_spellings=all_spellings, separator=separator)

    async def identify(self) -> BackendIdentity:
        """Identify the server by its facts and by the likeliest tokens' log-probabilities. Raises BackendError."""
        return await self._recognition.identify()

    async def score(
        self, tree: PromptTree, labels: Sequence[str], *, all_spellings: bool = False, separator: str = ""
    ) -> TreeScores:
        """Score all queries, warming up shared prefixes first (see warmup_schedule.py).

        Raises BackendError. An error or a cancellation also cancels all other calls of the tree.
        """
        flat_tree = flatten(tree)
        if not flat_tree.leaves:
            return TreeScores({})
        ids = await encode_tree(self._encoder, flat_tree) if self._wire.takes_token_ids else None
        find = partial(
            self._label_tokens, labels, all_spellings=all_spellings, separator=separator, as_text=ids is None
        )
        tokens = await _leaf_tokens(flat_tree, find)
        execution = TreeExecution(flat_tree, tokens, ids, self._wire, self._executor)
        schedule = WarmupSchedule(
            flat_tree,
            execution.ask,
            slots=lambda: _AHEAD * self._executor.limit,
            grouped=execution.grouped,
            worth_characters=self._worth_characters,
        )
        try:
            await schedule.run()
        except BackendError as error:
            error.answered = dict[int, LogProbabilities](execution.answered().items())
            raise
        return TreeScores(execution.answered(), await execution.tally.usage(self._encoder))

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens by the server's tokenizer, special tokens not counted. Raises BackendError."""
        return await self._encoder.count(texts)

    async def close(self) -> None:
        """Close every connection."""
        await self._wire.close()

    async def _label_tokens(
        self, labels: Sequence[str], behind: str, *, all_spellings: bool, separator: str, as_text: bool
    ) -> LabelTokens:
        """The labels' tokens behind prompts that end with `behind`, from memory if possible. Raises BackendError."""
        key = (tuple(labels), behind, all_spellings, separator, as_text)
        found = self._labels.get(key)
        if found is None:
            found = await find_label_tokens(
                self._encoder.tokens,
                labels,
                behind,
                separator=separator,
                all_spellings=all_spellings,
                as_text=as_text,
            )
            self._labels[key] = found
        return found

    async def _canary(self) -> Canary:
        """The log-probability of the likeliest token after each canary prompt. Raises BackendError."""
        prompts = map(Prompt, CANARY_PROMPTS)
        calls = [self._executor.call(partial(self._wire.next_token, prompt, ())) for prompt in prompts]
        answers = await together(calls)
        if not all(answer.by_id for answer in answers):
            raise BackendRefused("the server names no token for a fixed prompt")
        return tuple(max(answer.by_id.values()) for answer in answers)


async def _leaf_tokens(tree: FlatTree, find: Callable[[str], Coroutine[Any, Any, LabelTokens]]) -> list[LabelTokens]:
    """The labels' tokens behind each leaf; looks them up once for each distinct prompt ending. Raises BackendError."""
    endings = [ending(tree.last_characters(leaf, ENDING_CHARACTERS)) for leaf in range(len(tree.leaves))]
    distinct = list(dict.fromkeys(endings))
    found = dict(zip(distinct, await together(map(find, distinct)), strict=True))
    return [found[behind] for behind in endings]
