from collections.abc import Sequence
from typing import Any

import pytest

from service.access.caller_store import CallerStore
from service.bootstrap import Application, build_application
from service.identifiers import WorkerId
from service.jobs.submission.submit import submit
from service.records.access import LOCAL_CALLER
from service.records.scoring import BackendInfo
from service.scoring.deterministic import DeterministicScorer
from service.scoring.registry import ConfiguredScorers
from service.search.predictions.prompt_tree import PromptTree, TreeScores
from service.settings import Settings
from tests.support.memory import MemoryStore
from tests.support.sources import config, source
from workers.worker import Worker


class Spelling(DeterministicScorer):
    """Records the requested spellings."""

    def __init__(self) -> None:
        super().__init__()
        self.probed = set[bool]()
        self.scored = set[bool]()

    async def probe(
        self, labels: Sequence[str] = (), *, all_spellings: bool = False, separator: str = ""
    ) -> BackendInfo:
        if labels:
            self.probed.add(all_spellings)
        return await super().probe(labels, all_spellings=all_spellings, separator=separator)

    async def score(
        self, tree: PromptTree, labels: Sequence[str], *, all_spellings: bool = False, separator: str = ""
    ) -> TreeScores:
        self.scored.add(all_spellings)
        return await super().score(tree, labels, all_spellings=all_spellings, separator=separator)


@pytest.mark.parametrize(
    ("task", "expected"), [({}, False), ({"all_spellings": True}, True)], ids=["by_default", "where_asked_for"]
)
async def test_a_task_says_whether_all_spellings_of_a_label_count(task: dict[str, Any], expected: bool) -> None:
    scorer, store = Spelling(), MemoryStore()
    scorers = ConfiguredScorers({"default": scorer})
    wired = build_application(Settings(), store=store)
    worker = Worker(Application(wired.settings, store, scorers), WorkerId("worker"))
    rows = source(*({"q": f"row {number}"} for number in range(4)))
    project_store = CallerStore(store, LOCAL_CALLER)
    await submit(config(**task), rows, project_store, scorers, idempotency_key=None)
    assert await worker.work_once()
    assert (scorer.probed, scorer.scored) == ({expected}, {expected})
