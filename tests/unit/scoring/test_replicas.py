import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest

from service.errors import BackendChanged, BackendError, BackendRefused, BackendUnavailable, FailureKind
from service.identifiers import Row
from service.ports.scoring import Scorer
from service.records.scoring import BackendIdentity, BackendInfo
from service.scoring.deterministic import DeterministicScorer
from service.scoring.replicas import BEGINNING_CHARACTERS, ReplicatedScorer
from service.search.predictions.prompt_tree import PromptTree, Query, TreeScores

LABELS = ("True", "False")
DOWN = BackendUnavailable("down", 30.0, kind=FailureKind.DISCONNECTED)


@dataclass
class Replica:
    """An in-memory wire with planned failures; `gate` delays its answers."""

    twin: Scorer = field(default_factory=DeterministicScorer)
    failure: BackendError | None = None
    identity: BackendIdentity = field(default_factory=lambda: BackendIdentity("m", (-0.5,)))
    about: Callable[[BackendInfo], BackendInfo] = lambda info: info
    trees: list[PromptTree] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)
    identified: int = 0
    gate: asyncio.Event | None = None
    closed: bool = False

    async def probe(
        self, labels: Sequence[str] = (), *, all_spellings: bool = False, separator: str = ""
    ) -> BackendInfo:
        if self.failure is not None:
            return BackendInfo(
                name="twin", kind="deterministic", ready=False, reachable=False, problems=(str(self.failure),)
            )
        return self.about(await self.twin.probe(labels, all_spellings=all_spellings, separator=separator))

    async def identify(self) -> BackendIdentity:
        self.identified += 1
        await self._fail()
        return self.identity

    async def score(
        self, tree: PromptTree, labels: Sequence[str], *, all_spellings: bool = False, separator: str = ""
    ) -> TreeScores:
        self.trees.append(tree)
        self.came.set()
        if self.gate is not None:
            await self.gate.wait()
        await self._fail()
        return await self.twin.score(tree, labels, all_spellings=all_spellings, separator=separator)

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        await self._fail()
        return await self.twin.count_tokens(texts)

    async def close(self) -> None:
        self.closed = True

    async def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def tree(beginning: str, prompts: int = 4) -> PromptTree:
    return PromptTree(beginning, tuple(Query(Row(row), f"row {row}") for row in range(prompts)))


def replicated(*replicas: Replica, clock: Callable[[], float] | None = None, salt: str = "") -> ReplicatedScorer:
    return ReplicatedScorer("default", replicas, clock=clock or Clock(), salt=salt)


async def arrived(count: int, replicas: Sequence[Replica]) -> None:
    """Wait until this many trees have reached the replicas, which set the same event."""
    came = replicas[0].came
    while sum(len(replica.trees) for replica in replicas) < count:
        came.clear()
        await came.wait()


def preferred(replicas: Sequence[Replica]) -> Replica:
    """The one that `tree("a")` is sent to."""
    return max(replicas, key=lambda replica: len(replica.trees))


async def test_a_tree_is_answered_as_by_one_server() -> None:
    scorer = replicated(Replica(), Replica(), Replica())
    asked = PromptTree("x True\n\n", (Query(Row(2), "y"),), (PromptTree("z False\n\n", (Query(Row(5), "w"),)),))
    assert await scorer.score(asked, LABELS) == await DeterministicScorer().score(asked, LABELS)
    assert await scorer.count_tokens(["a b", "c"]) == [2, 1]


async def test_a_tree_goes_whole_to_one_replica_and_its_like_to_the_same() -> None:
    replicas = [Replica() for _ in range(5)]
    scorer = replicated(*replicas)
    long = "demonstration " * BEGINNING_CHARACTERS
    for end in range(20):
        await scorer.score(tree(f"{long}{end}"), LABELS)
        deep = PromptTree(long[:1000], (), (PromptTree(f"{long[1000:]}{end}", tree("").queries),))
        await scorer.score(deep, LABELS)
    assert sorted(len(replica.trees) for replica in replicas) == [0, 0, 0, 0, 40]


async def test_trees_of_different_beginnings_spread_over_all_replicas() -> None:
    replicas = [Replica() for _ in range(4)]
    scorer = replicated(*replicas)
    for number in range(400):
        await scorer.score(tree(f"{number}"), LABELS)
    assert all(70 <= len(replica.trees) <= 130 for replica in replicas)


async def test_a_replica_more_moves_only_its_own_share() -> None:
    few = [Replica() for _ in range(4)]
    more = [Replica() for _ in range(5)]
    for replicas in (few, more):
        scorer = replicated(*replicas)
        for number in range(200):
            await scorer.score(tree(f"{number}"), LABELS)
    for before, after in zip(few, more, strict=False):
        assert {one.text for one in after.trees} <= {one.text for one in before.trees}
    assert 20 <= len(more[4].trees) <= 60


async def test_processes_prefer_different_replicas_for_the_same_beginning() -> None:
    chosen = Counter[int]()
    for process in range(60):
        replicas = [Replica() for _ in range(3)]
        await replicated(*replicas, salt=f"{process}").score(tree("same"), LABELS)
        chosen[next(number for number, replica in enumerate(replicas) if replica.trees)] += 1
    assert min(chosen[number] for number in range(3)) >= 10


async def test_a_replica_far_busier_than_the_mean_is_passed_over() -> None:
    gate, came = asyncio.Event(), asyncio.Event()
    replicas = [Replica(gate=gate, came=came) for _ in range(4)]
    scorer = replicated(*replicas)
    tasks = [asyncio.create_task(scorer.score(tree("same", prompts=10), LABELS)) for _ in range(40)]
    await arrived(40, replicas)
    assert max(len(replica.trees) for replica in replicas) <= 13
    gate.set()
    await asyncio.gather(*tasks)
    for _ in range(8):
        await scorer.score(tree("same"), LABELS)
    assert max(len(replica.trees) for replica in replicas) >= 17


async def test_busy_is_counted_in_prompts() -> None:
    gate, came = asyncio.Event(), asyncio.Event()
    replicas = [Replica(gate=gate, came=came) for _ in range(2)]
    scorer = replicated(*replicas)
    sizes = [100, *(10 for _ in range(10))]
    tasks = [asyncio.create_task(scorer.score(tree("same", prompts=size), LABELS)) for size in sizes]
    await arrived(len(sizes), replicas)
    loads = [sum(len(one.queries) for one in replica.trees) for replica in replicas]
    assert sorted(loads) == [80, 120]
    gate.set()
    await asyncio.gather(*tasks)


async def test_a_tree_that_a_replica_does_not_answer_goes_to_another_one() -> None:
    clock, replicas = Clock(), [Replica(), Replica(), Replica()]
    scorer = replicated(*replicas, clock=clock)
    expected = await scorer.score(tree("a"), LABELS)
    first = preferred(replicas)
    first.failure = DOWN
    for _ in range(5):
        assert await scorer.score(tree("a"), LABELS) == expected
    assert len(first.trees) == 2
    first.failure = None
    clock.now += 31
    await scorer.score(tree("a"), LABELS)
    assert len(first.trees) == 3


async def test_one_tree_at_a_time_tries_a_replica_that_was_down() -> None:
    clock, gate, came = Clock(), asyncio.Event(), asyncio.Event()
    replicas = [Replica(came=came), Replica(came=came)]
    scorer = replicated(*replicas, clock=clock)
    await scorer.score(tree("a"), LABELS)
    first = preferred(replicas)
    first.failure = DOWN
    for replica in replicas:
        replica.gate = gate
    first.gate = None
    under_way = [asyncio.create_task(scorer.score(tree("a", prompts=100), LABELS))]
    await arrived(3, replicas)
    first.failure, first.gate = None, gate
    clock.now += 31
    for number in range(4, 8):
        under_way.append(asyncio.create_task(scorer.score(tree("a", prompts=1), LABELS)))
        await arrived(number, replicas)
    assert [len(one.queries) for one in first.trees[2:]] == [1]
    gate.set()
    await asyncio.gather(*under_way)


async def test_where_no_replica_answers_the_backend_is_unavailable() -> None:
    soon = BackendUnavailable("busy", 2.0, kind=FailureKind.OVERLOADED)
    replicas = [Replica(failure=DOWN), Replica(failure=soon), Replica(failure=DOWN)]
    scorer = replicated(*replicas)
    for call in (scorer.score(tree("a"), LABELS), scorer.count_tokens(["a"]), scorer.identify()):
        with pytest.raises(BackendUnavailable, match="none of 3 replicas answers") as raised:
            await call
        assert raised.value.retry_after_seconds == 2.0
    replicas[0].failure = None
    assert await scorer.score(tree("a"), LABELS)


async def test_a_tree_that_one_replica_refuses_is_not_tried_on_another() -> None:
    replicas = [Replica(failure=BackendRefused("too long")) for _ in range(3)]
    with pytest.raises(BackendRefused, match="too long"):
        await replicated(*replicas).score(tree("a"), LABELS)
    assert sum(len(replica.trees) for replica in replicas) == 1


async def test_the_identity_is_the_one_on_which_all_replicas_agree() -> None:
    near = BackendIdentity("m", (-0.51,))
    assert await replicated(Replica(), Replica(identity=near)).identify() == BackendIdentity("m", (-0.5,))


async def test_an_identity_is_found_without_a_replica_that_is_down() -> None:
    replicas = [Replica(), Replica(failure=DOWN)]
    scorer = replicated(*replicas)
    for _ in range(3):
        assert await scorer.identify() == BackendIdentity("m", (-0.5,))
    assert (replicas[0].identified, replicas[1].identified) == (3, 1)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (BackendIdentity("n", (-0.5,)), "replicas 1 and 2 are not the same: m and n"),
        (BackendIdentity("m", (-2.5,)), "replicas 1 and 2 are not the same: their log-probabilities of fixed prompts"),
    ],
    ids=["name", "canary"],
)
async def test_replicas_that_are_not_the_same_are_never_mixed(other: BackendIdentity, message: str) -> None:
    with pytest.raises(BackendChanged, match=message):
        await replicated(Replica(), Replica(identity=other)).identify()


async def test_a_replica_that_comes_back_as_another_gets_no_tree() -> None:
    clock, replicas = Clock(), [Replica(), Replica()]
    scorer = replicated(*replicas, clock=clock)
    await scorer.identify()
    await scorer.score(tree("a"), LABELS)
    first = preferred(replicas)
    first.failure = DOWN
    await scorer.score(tree("a"), LABELS)
    clock.now += 31
    first.failure, first.identity = None, BackendIdentity("another")
    with pytest.raises(BackendChanged, match="was away and has come back as another: m and another"):
        await scorer.score(tree("a"), LABELS)
    assert len(first.trees) == 2


async def test_the_probe_describes_all_replicas_as_one() -> None:
    info = await replicated(Replica(), Replica()).probe(LABELS)
    alone = await DeterministicScorer().probe(LABELS)
    assert info == replace(alone, name="default", replicas=2)


async def test_replicas_that_differ_are_a_problem_that_names_them() -> None:
    info = await replicated(
        Replica(),
        Replica(about=lambda info: replace(info, model="other", context_tokens=4096, max_top_tokens=5)),
        Replica(
            about=lambda info: replace(info, ready=False, problems=("no top tokens",), advice=("start it with x",))
        ),
    ).probe(LABELS)
    assert (info.ready, info.context_tokens, info.max_top_tokens, info.replicas) == (False, 4096, 5, 3)
    model, context, own = info.problems
    assert "deterministic|deterministic twin|None|None (replica 1), deterministic|other|None|None (replica 2)" in model
    assert "a context in tokens of 8192 (replica 1), 4096 (replica 2), 8192 (replica 3)" in context
    assert own == "replica 3: no top tokens"
    assert info.advice == ("replica 3: start it with x",)


async def test_a_replica_that_cannot_be_reached_is_advice() -> None:
    info = await replicated(Replica(), Replica(failure=DOWN)).probe(LABELS)
    assert (info.ready, info.reachable, info.problems, info.replicas) == (True, True, (), 2)
    assert info.advice == ("replica 2 cannot be reached: down",)


async def test_no_replica_that_can_be_reached_is_a_problem() -> None:
    info = await replicated(Replica(failure=DOWN), Replica(failure=DOWN)).probe(LABELS)
    assert (info.name, info.ready, info.reachable, info.replicas) == ("default", False, False, 2)
    assert info.problems == ("replica 1 cannot be reached: down", "replica 2 cannot be reached: down")


async def test_every_replica_is_closed() -> None:
    replicas = [Replica(), Replica()]
    await replicated(*replicas).close()
    assert all(replica.closed for replica in replicas)


async def test_the_probe_reports_the_worst_replicas_measurements() -> None:
    fine = Replica(about=lambda info: replace(info, cache_block_tokens=16, warm_difference_nats=0.0))
    coarse = Replica(
        about=lambda info: replace(
            info, prefix_cache=False, tokenizer_agrees=None, cache_block_tokens=128, warm_difference_nats=0.06
        )
    )
    info = await replicated(fine, coarse).probe(LABELS)
    assert (info.prefix_cache, info.tokenizer_agrees) == (False, None)
    assert (info.cache_block_tokens, info.warm_difference_nats, info.repeat_difference_nats) == (128, 0.06, 0.0)
