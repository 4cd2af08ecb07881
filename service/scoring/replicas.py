"""Distributes prompt trees over several servers with the same model, so that each tree meets a warm prefix cache."""

import asyncio
import hashlib
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

from service.errors import BackendChanged, BackendUnavailable
from service.ports.scoring import Scorer
from service.records.scoring import BackendIdentity, BackendInfo
from service.scoring.adapted import adapted
from service.scoring.trees.flat_tree import flatten
from service.scoring.wires.adapters import LoadableAdapter
from service.search.predictions.prompt_tree import PromptTree, TreeScores

_Answer = TypeVar("_Answer")
_Number = TypeVar("_Number", int, float)
BEGINNING_CHARACTERS = 2000  # of a tree's first prompt; trees that agree in these share a prefix worth keeping
FAR_BUSIER = 1.25  # times the mean of prompts in flight: the bound of "consistent hashing with bounded loads"
_DOWN_SECONDS = 5.0  # pause of a replica that failed without saying when to retry


class _Replica:
    """One server with its number of prompts in flight and its state: up, or down until some time."""

    def __init__(self, number: int, scorer: Scorer) -> None:
        self.number = number
        self.scorer = scorer
        self.prompts = 0
        self.down_until: float | None = None  # None while it answers

    @contextmanager
    def busy_with(self, prompts: int) -> Iterator[None]:
        """Count the prompts as in flight meanwhile."""
        self.prompts += prompts
        try:
            yield
        finally:
            self.prompts -= prompts

    def failed(self, now: float, error: BackendUnavailable) -> None:
        """Record that it has failed to answer."""
        self.down_until = now + (error.retry_after_seconds or _DOWN_SECONDS)

    def is_unavailable(self, now: float) -> bool:
        """True while the replica is down or undergoing a recovery trial."""
        return self.down_until is not None and (now < self.down_until or self.prompts > 0)


class ReplicatedScorer:
    """Scores each tree by one replica: the one that has scored trees with the same beginning before.

    The scorer passes over a replica that is far busier than the mean or does not answer, and sends a tree
    that one replica failed to answer to the next. It raises a refusal at once, since all replicas would
    refuse. Replicas are numbered from 1 in the operator's order. `salt` differs between processes, so that
    workers with the same demonstrations prefer different replicas.
    """

    def __init__(
        self,
        name: str,
        scorers: Sequence[Scorer],
        *,
        clock: Callable[[], float] = time.monotonic,
        salt: str | None = None,
    ) -> None:
        self._name = name
        self._replicas = [_Replica(number, scorer) for number, scorer in enumerate(scorers, start=1)]
        self._clock = clock
        self._salt = secrets.token_hex(8) if salt is None else salt
        self._agreed: BackendIdentity | None = None

    def adapted(self, adapter: LoadableAdapter) -> "ReplicatedScorer":
        """The scorer of the same servers with a trained adapter; each loads it. Raises AdapterRefused."""
        scorers = [adapted(self._name, one.scorer, adapter) for one in self._replicas]
        return ReplicatedScorer(self._name, scorers, clock=self._clock, salt=self._salt)

    async def probe(
        self, labels: Sequence[str] = (), *, all_spellings: bool = False, separator: str = ""
    ) -> BackendInfo:
        """Probe all replicas; differences between them become problems, an unreachable one becomes advice."""
        infos = await asyncio.gather(
            *(one.scorer.probe(labels, all_spellings=all_spellings, separator=separator) for one in self._replicas)
        )
        numbered = dict(enumerate(infos, start=1))
        reached = {number: info for number, info in numbered.items() if info.reachable}
        missing = [
            f"replica {number} cannot be reached: {'; '.join(info.problems)}"
            for number, info in numbered.items()
            if not info.reachable
        ]
        if not reached:
            return replace(numbered[1], name=self._name, replicas=len(infos), problems=tuple(missing))
        return _merge(self._name, reached, missing, replicas=len(infos))

    async def identify(self) -> BackendIdentity:
        """The identity on which all replicas that answer agree. Raises BackendChanged, BackendUnavailable."""
        reachable = [one for one in self._replicas if not one.is_unavailable(self._clock())] or self._replicas
        outcomes = await asyncio.gather(*(self._identity(one) for one in reachable), return_exceptions=True)
        found = dict[int, BackendIdentity]()
        failures = list[BackendUnavailable]()
        for one, outcome in zip(reachable, outcomes, strict=True):
            if isinstance(outcome, BackendUnavailable):
                failures.append(outcome)
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                found[one.number] = outcome
        if not found:
            raise _all_down(failures)
        (first, identity), *others = found.items()
        for number, other in others:
            _check_same(identity, other, f"replicas {first} and {number} are not the same")
        self._agreed = identity
        return identity

    async def score(
        self, tree: PromptTree, labels: Sequence[str], *, all_spellings: bool = False, separator: str = ""
    ) -> TreeScores:
        """Score the whole tree on one replica. Raises BackendError; BackendUnavailable if no replica answers."""
        prompts = len(flatten(tree).leaves)

        async def on(replica: _Replica) -> TreeScores:
            with replica.busy_with(prompts):
                return await replica.scorer.score(tree, labels, all_spellings=all_spellings, separator=separator)

        return await self._first_answer(_beginning(tree), on)

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count tokens by the tokenizer that all replicas share. Raises BackendError."""
        return await self._first_answer("", lambda replica: replica.scorer.count_tokens(texts))

    async def close(self) -> None:
        """Close every connection."""
        for replica in self._replicas:
            await replica.scorer.close()

    async def _first_answer(self, key: str, ask: Callable[[_Replica], Awaitable[_Answer]]) -> _Answer:
        """Ask the replicas in order of preference until one answers."""
        failures = list[BackendUnavailable]()
        left = self._preferred(key)
        while left:
            replica = self._next(left)
            left.remove(replica)
            try:
                if replica.down_until is not None:
                    await self._check_unchanged(replica)
                answer = await ask(replica)
            except BackendUnavailable as error:
                replica.failed(self._clock(), error)
                failures.append(error)
            else:
                replica.down_until = None
                return answer
        raise _all_down(failures)

    def _preferred(self, key: str) -> list[_Replica]:
        """Order the replicas by rendezvous hashing: adding or losing a replica moves only its own share of keys."""

        def weight(replica: _Replica) -> bytes:
            return hashlib.sha256(f"{self._salt}\0{replica.number}\0{key}".encode(errors="surrogatepass")).digest()

        return sorted(self._replicas, key=weight, reverse=True)

    def _next(self, left: Sequence[_Replica]) -> _Replica:
        """The most preferred replica that is up and not far busier than the mean; if none is up, the first."""
        now = self._clock()
        up = [replica for replica in left if not replica.is_unavailable(now)]
        if not up:
            return left[0]
        mean = sum(replica.prompts for replica in up) / len(up)
        return next(replica for replica in up if replica.prompts <= FAR_BUSIER * mean)

    async def _identity(self, replica: _Replica) -> BackendIdentity:
        try:
            return await replica.scorer.identify()
        except BackendUnavailable as error:
            replica.failed(self._clock(), error)
            raise

    async def _check_unchanged(self, replica: _Replica) -> None:
        """Check a replica that was down. Raises BackendChanged if it now has another identity."""
        identity = await self._identity(replica)
        if self._agreed is not None:
            _check_same(self._agreed, identity, f"replica {replica.number} was away and has come back as another")


def _beginning(tree: PromptTree) -> str:
    """The beginning that most of the tree's prompts share: the text on the way to its first leaf."""
    text = tree.text
    while len(text) < BEGINNING_CHARACTERS and tree.children:
        tree = tree.children[0]
        text += tree.text
    return text[:BEGINNING_CHARACTERS]


def _check_same(one: BackendIdentity, other: BackendIdentity, otherwise: str) -> None:
    """Check that two identities agree. Raises BackendChanged, with `otherwise` as the beginning of its message."""
    if not one.agrees_with(other):
        difference = (
            "their log-probabilities of fixed prompts differ"
            if one.fingerprint == other.fingerprint
            else f"{one.fingerprint} and {other.fingerprint}"
        )
        raise BackendChanged(f"{otherwise}: {difference}")


def _all_down(failures: Sequence[BackendUnavailable]) -> BackendUnavailable:
    """Combine the failures of all replicas into one error; the shortest Retry-After counts."""
    waits = [error.retry_after_seconds for error in failures if error.retry_after_seconds is not None]
    reasons = "; ".join(dict.fromkeys(map(str, failures)))
    message = f"none of {len(failures)} replicas answers: {reasons}"
    return BackendUnavailable(message, min(waits, default=None), kind=failures[-1].kind, status=failures[-1].status)


def _merge(name: str, infos: dict[int, BackendInfo], missing: Sequence[str], *, replicas: int) -> BackendInfo:
    """Merge the probe results of all replicas that were reached into one."""
    each = list(infos.values())
    contexts = {number: info.context_tokens for number, info in infos.items() if info.context_tokens is not None}
    problems = [
        *_differing("are", {number: info.fingerprint for number, info in infos.items()}),
        *_differing("have a context in tokens of", contexts),
        *(f"replica {number}: {problem}" for number, info in infos.items() for problem in info.problems),
    ]
    advice = [*missing, *(f"replica {number}: {one}" for number, info in infos.items() for one in info.advice)]
    return replace(
        each[0],
        name=name,
        ready=not problems and all(info.ready for info in each),
        context_tokens=_least(contexts.values()),
        max_concurrent_requests=_least(info.max_concurrent_requests for info in each),
        max_top_tokens=_least(info.max_top_tokens for info in each),
        reports_tokens_computed=all(info.reports_tokens_computed for info in each),
        tokenizer_agrees=_all(info.tokenizer_agrees for info in each),
        prefix_cache=_all(info.prefix_cache for info in each),
        cache_block_tokens=_most(info.cache_block_tokens for info in each),
        repeat_difference_nats=_most(info.repeat_difference_nats for info in each),
        warm_difference_nats=_most(info.warm_difference_nats for info in each),
        replicas=replicas,
        problems=tuple(problems),
        advice=tuple(advice),
    )


def _least(values: Iterable[int | None]) -> int | None:
    """The least of the known values; None if there are none."""
    return min((value for value in values if value is not None), default=None)


def _most(values: Iterable[_Number | None]) -> _Number | None:
    """The greatest of the known values; None if there are none."""
    return max((value for value in values if value is not None), default=None)


def _all(values: Iterable[bool | None]) -> bool | None:
    """False if any value is False, None (unknown) if any is None, otherwise True."""
    known = list(values)
    return False if False in known else None if None in known else True


def _differing(what: str, values: Mapping[int, object]) -> Iterator[str]:
    """The problem, if the replicas differ in this property."""
    if len(set(values.values())) > 1:
        found = ", ".join(f"{value} (replica {number})" for number, value in values.items())
        yield f"replicas must be alike, and {what} {found}"
