import asyncio
from collections.abc import Sequence

from service.errors import BackendUnavailable
from service.jobs.backends import ModelDirectory
from service.records.scoring import BackendInfo
from service.scoring.deterministic import DeterministicScorer
from service.scoring.registry import ConfiguredScorers


class Probed(DeterministicScorer):
    """Counts its probes; each continues once the gate is open."""

    def __init__(self, name: str, failure: BackendUnavailable | None = None, *, open_gate: bool = True) -> None:
        super().__init__(name=name)
        self.probes = 0
        self.began, self.gate = asyncio.Event(), asyncio.Event()
        self._failure = failure
        if open_gate:
            self.gate.set()

    async def probe(
        self, labels: Sequence[str] = (), *, all_spellings: bool = False, separator: str = ""
    ) -> BackendInfo:
        self.probes += 1
        self.began.set()
        await self.gate.wait()
        if self._failure is not None:
            raise self._failure
        return await super().probe(labels)


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def directory(clock: Clock, *scorers: Probed, probe_seconds: float = 60.0) -> ModelDirectory:
    named = {f"model-{place}": scorer for place, scorer in enumerate(scorers)}
    return ModelDirectory(ConfiguredScorers(named), probe_seconds=probe_seconds, remembered_seconds=5, clock=clock)


async def test_backends_are_listed_in_the_operators_order_and_errors_are_their_problems() -> None:
    scorers = Probed("model-0"), Probed("model-1", BackendUnavailable("busy")), Probed("model-2")
    found = await directory(Clock(), *scorers).listed()
    assert [(info.name, info.ready, info.problems) for info in found] == [
        ("model-0", True, ()),
        ("model-1", False, ("busy",)),
        ("model-2", True, ()),
    ]
    assert not found[1].reachable


async def test_a_list_is_given_again_for_a_few_seconds() -> None:
    clock, scorer = Clock(), Probed("model-0")
    models = directory(clock, scorer)
    for clock.seconds in (0.0, 1.0, 4.9, 5.0, 9.9):
        await models.listed()
    assert scorer.probes == 2


async def test_callers_that_come_together_cause_one_probe() -> None:
    scorer = Probed("model-0", open_gate=False)
    models = directory(Clock(), scorer)
    waiting = [asyncio.create_task(models.listed()) for _ in range(10)]
    await scorer.began.wait()
    scorer.gate.set()
    assert len({id(found) for found in await asyncio.gather(*waiting)}) == 1
    assert scorer.probes == 1


async def test_a_backend_that_does_not_answer_in_time_does_not_hold_up_the_others() -> None:
    found = await directory(Clock(), Probed("model-0", open_gate=False), Probed("model-1"), probe_seconds=0.01).listed()
    assert [(info.ready, info.reachable) for info in found] == [(False, False), (True, True)]
    assert "no answer within" in found[0].problems[0]
