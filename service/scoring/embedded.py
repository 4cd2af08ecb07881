"""Scores through the embedded server's own wire: a whole prompt tree in one call.

Each segment of a tree travels once, whatever the number of prompts that begin with it. The
server finds the labels' tokens and applies the chain rule.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from service.errors import BackendRefused, LabelUnreachable
from service.identifiers import Row
from service.ports import BackendIdentity, BackendInfo
from service.scoring.driving import Driver
from service.scoring.embedded_probe import EmbeddedExaminer
from service.scoring.http import JsonHttp
from service.scoring.info import described
from service.scoring.replies import log_probability, of_one_distribution
from service.scoring.tokens import CALLS_AT_ONCE, BatchTokenCounter
from service.search.prompt_tree import LogProbabilities, PromptTree, TreeScores, Usage

_QUERIES_AT_ONCE = 64  # that a server is given one time-out for


class EmbeddedScorer:
    """A server with `/v1/score_tree` and `/v1/count_tokens`; at most `concurrency` trees are under way.

    `timeout_seconds` is the longest wait where up to 64 queries are under way, and grows with them.
    """

    def __init__(
        self,
        name: str,
        url: str,
        *,
        concurrency: int = 64,
        timeout_seconds: float = 120.0,
        driver: Driver | None = None,
    ) -> None:
        self._name = name
        self._http = JsonHttp(url, timeout_seconds=timeout_seconds, connections=concurrency + CALLS_AT_ONCE)
        self._driver = driver or Driver(concurrency=concurrency)
        self._timeout_seconds = timeout_seconds
        self._queries_under_way = 0
        self._counter = BatchTokenCounter(self._http)
        self._examine = EmbeddedExaminer(self._http, self.score)

    async def probe(self, labels: Sequence[str] = (), *, all_spellings: bool = False) -> BackendInfo:
        """Ask for `/info`, score small trees repeatedly; what is wrong is in the answer's problems."""
        return await self._examine(self._name, labels, all_spellings=all_spellings)

    async def identify(self) -> BackendIdentity:
        """What `/info` says. Raises BackendError."""
        info = described(self._name, "embedded", await self._http.get("/info"), (), reports_tokens_computed=True)
        return BackendIdentity(info.fingerprint)

    async def score(self, tree: PromptTree, labels: Sequence[str], *, all_spellings: bool = False) -> TreeScores:
        """All queries in one call, tried again while a failure may pass. Raises BackendError."""
        del all_spellings
        rows, body = _flatten(tree)
        if not rows:
            return TreeScores({})
        answer = await self._driver.call(lambda: self._send(len(rows), {**body, "labels": list(labels)}))
        try:
            return _read(answer, rows, labels)
        except (KeyError, TypeError, ValueError) as error:
            raise BackendRefused(f"/v1/score_tree gave an answer of another form: {error!r}") from error

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens by the server's tokenizer, special tokens not counted. Raises BackendError."""
        return await self._counter.count(texts)

    async def close(self) -> None:
        """Close every connection."""
        await self._http.close()

    async def _send(self, queries: int, body: Mapping[str, Any]) -> Any:
        self._queries_under_way += queries
        waits = math.ceil(self._queries_under_way / _QUERIES_AT_ONCE)
        try:
            return await self._http.post("/v1/score_tree", body, timeout_seconds=self._timeout_seconds * waits)
        finally:
            self._queries_under_way -= queries


def _flatten(tree: PromptTree) -> tuple[list[Row], dict[str, Any]]:
    """The rows asked for, depth first, and the tree as the flat lists that the server takes."""
    rows, nodes, queries = list[Row](), list[dict[str, Any]](), list[dict[str, Any]]()
    ahead: list[tuple[PromptTree, int | None]] = [(tree, None)]
    while ahead:
        node, parent = ahead.pop()
        place = len(nodes)
        nodes.append({"parent": parent, "text": node.text})
        rows += [query.row for query in node.queries]
        queries += [{"node": place, "text": query.text} for query in node.queries]
        ahead += [(child, place) for child in reversed(node.children)]
    return rows, {"nodes": nodes, "queries": queries}


def _read(answer: Mapping[str, Any], rows: Sequence[Row], labels: Sequence[str]) -> TreeScores:
    """The server's answer; JSON has no infinity, so a label of probability 0 comes as null. Raises LabelUnreachable."""
    scores: dict[Row, LogProbabilities] = {}
    for row, values in zip(rows, answer["log_probabilities"], strict=True):
        for label, value in zip(labels, values, strict=True):
            if value is None:
                raise LabelUnreachable(f"no log-probability for the label {label!r} of row {row}")
        scores[row] = tuple(map(log_probability, values))
        of_one_distribution(scores[row])
    usage = answer["usage"]
    return TreeScores(scores, Usage(usage["prompts"], usage["tokens_sent"], usage["tokens_computed"]))
