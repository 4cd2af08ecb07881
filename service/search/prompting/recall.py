"""Removes prompts with stored answers from prompt trees, and merges stored and new answers afterwards.

The key of a prompt is 16 bytes of BLAKE2b over its text, the label set and the project. The project is part of
it so that no project can find out by time or cost what others have asked. A node's text is hashed only once
for all prompts that begin with it.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NewType

from service.identifiers import ProjectName, Row
from service.search.predictions.prompt_tree import LogProbabilities, PromptTree, Query, TreeScores
from service.search.predictions.training import TrainAndScore

KEY_BYTES = 16  # among 2**32 prompts, two share a key with a probability of 2**-65

PromptKey = NewType("PromptKey", bytes)
Answers = Mapping[PromptKey, LogProbabilities]
_Keys = Mapping[Row, PromptKey]


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """Prompt trees to score, with the key of each query's prompt."""

    trees: Sequence[PromptTree]
    keys: Sequence[_Keys]

    @property
    def distinct_keys(self) -> set[PromptKey]:
        """The key of every prompt, without duplicates."""
        return {key for keys in self.keys for key in keys.values()}

    @property
    def prompts(self) -> int:
        """The number of queries."""
        return sum(map(len, self.keys))


def keyed(
    trees: Sequence[PromptTree],
    labels: Sequence[str],
    *,
    project: ProjectName,
    all_spellings: bool = False,
    separator: str = "",
) -> KeyedRequest:
    """The trees with a key for each prompt.

    The keys also depend on the project, on the labels and their order, on `all_spellings`, and, if it may
    end a label, on the separator.
    """
    ends = (separator,) if _may_be_ended(labels) else ()
    beginning = _beginning(project, (str(len(labels)), *labels, *ends), all_spellings=all_spellings)
    return KeyedRequest(trees, [_keys(tree, beginning) for tree in trees])


def trained_keys(
    request: TrainAndScore,
    labels: Sequence[str],
    *,
    project: ProjectName,
    trainer: str,
    separator: str,
    all_spellings: bool = False,
) -> dict[Row, PromptKey]:
    """The key of each query of a training: over everything that its answer depends on.

    That is `trainer`, which names base and settings, the examples with their labels and weights, the numbers of the
    training, labels, separator and `all_spellings`, and the query's text. No prompt has such a key: where "training" is
    hashed here, the number of labels is there.
    """
    numbers = (str(request.epochs), str(request.learning_rate), str(request.seed))
    examples = (text for one in request.examples for text in (one.text, str(one.label), repr(one.weight)))
    parts = ("training", trainer, *numbers, str(len(labels)), *labels, separator, str(len(request.examples)), *examples)
    beginning = _beginning(project, parts, all_spellings=all_spellings)
    return {query.row: PromptKey(_continued(beginning, query.text).digest()) for query in request.queries}


def unanswered(request: KeyedRequest, known: Answers) -> list[KeyedRequest]:
    """The parts of the trees without an answer, each prompt once; branches and trees without a query are removed."""
    seen = set(known)
    left = []
    for tree, keys in zip(request.trees, request.keys, strict=True):
        open_rows = _open(keys, seen)
        kept = pruned(tree, open_rows)
        if kept is not None:
            left.append(KeyedRequest([kept], [open_rows]))
    return left


def by_key(keys: Mapping[Row, PromptKey], scores: TreeScores) -> dict[PromptKey, LogProbabilities]:
    """The scores of a tree, indexed by the keys of its prompts."""
    return {key: scores.log_probabilities[row] for row, key in keys.items()}


def answered(request: KeyedRequest, answers: Answers) -> list[TreeScores]:
    """The scores of the trees, put together from the answers to all of their prompts, at no cost."""
    return [TreeScores({row: answers[key] for row, key in keys.items()}) for keys in request.keys]


def _may_be_ended(labels: Sequence[str]) -> bool:
    """Whether one label may begin with another, so that scoring needs the separator behind them (`label_ends`).

    The keys of all other label sets leave the separator out, so that answers stored without it stay valid.
    The decision rests on the labels' texts, ignoring case, since only the backend knows the tokens. Texts
    beyond ASCII may have equal tokens: some tokenizers have one token for all unknown characters.
    """
    texts = [label.casefold() for label in labels]
    begun = any(one != other and other.startswith(one) for one in texts for other in texts)
    return begun or not all(map(str.isascii, texts))


def _beginning(project: ProjectName, parts: Sequence[str], *, all_spellings: bool) -> "hashlib.blake2b":
    """A hash of everything but the prompt; a length precedes each text, so that no two inputs hash the same bytes."""
    beginning = hashlib.blake2b(b"all" if all_spellings else b"one", digest_size=KEY_BYTES)
    for text in (project, *parts):
        encoded = text.encode()
        beginning.update(len(encoded).to_bytes(8, "big") + encoded)
    return beginning


def _keys(tree: PromptTree, before: "hashlib.blake2b") -> dict[Row, PromptKey]:
    """The key of every query, depth first."""
    here = _continued(before, tree.text)
    keys = {query.row: PromptKey(_continued(here, query.text).digest()) for query in tree.queries}
    for child in tree.children:
        keys |= _keys(child, here)
    return keys


def _continued(before: "hashlib.blake2b", text: str) -> "hashlib.blake2b":
    longer = before.copy()
    longer.update(text.encode())
    return longer


def _open(keys: _Keys, seen: set[PromptKey]) -> dict[Row, PromptKey]:
    """The rows whose prompt is not in `seen`; adds their keys to `seen`."""
    found = {}
    for row, key in keys.items():
        if key not in seen:
            seen.add(key)
            found[row] = key
    return found


def pruned(tree: PromptTree, rows: Mapping[Row, object]) -> PromptTree | None:
    """The tree with only the queries of these rows; None if there are none."""
    queries: tuple[Query, ...] = tuple(query for query in tree.queries if query.row in rows)
    children = tuple(kept for child in tree.children if (kept := pruned(child, rows)) is not None)
    if not queries and not children:
        return None
    return replace(tree, queries=queries, children=children)
