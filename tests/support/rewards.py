"""Reward models for tests: what a training leaves of one, and a stand-in for the process that asks it."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from service.identifiers import JobId, new_training_id
from service.records.jobs import JobStatus
from service.records.rewards import Rewarded, RewardedText, RewardModel
from service.records.trainings import Artifact, Training, TrainingReport

MANIFEST: Mapping[str, Any] = {"format": 1, "artifact": {"folder": "adapter"}}
CONTEXT_WORDS = 20


def reward_report(accuracy: float | None = 0.95, held_out: int = 100) -> dict[str, Any]:
    """What a training of kind reward says of itself, as far as anybody reads it."""
    measured = {"rows": held_out, "accuracy": accuracy, "calibration": {"error": 0.02, "bins": []}}
    return {
        "kind": "reward",
        "rows": {"trained": 50, "held_out": held_out, "tokens": 700},
        "training": {"epochs": [{"epoch": 1, "held_out": measured}], "tokens": 700, "seconds": 1.0, "steps": 7},
    }


def reward_training(report: Mapping[str, Any] | None = None, **config: Any) -> TrainingReport:
    """A training that has succeeded."""
    now = datetime.now(UTC)
    training = Training(
        id=new_training_id(),
        config={"job_ids": ["job_0"], "kind": "reward", **config},
        base="default",
        rows=150,
        status=JobStatus.SUCCEEDED,
        created_at=now,
        started_at=now,
        finished_at=now,
        error=None,
        warnings=(),
        progress={},
        artifact=Artifact("a" * 64, 700),
    )
    return TrainingReport(training=training, manifest=MANIFEST, report=reward_report() if report is None else report)


class PretendRewards:
    """Rewards a text by the number that it ends with; a text of many words is too long for it.

    `at_request` has what happens just before the n-th request, from 1.
    """

    def __init__(self, *, problem: str | None = None) -> None:
        self.requests: list[list[str]] = []
        self.models: list[JobId] = []
        self.at_request = dict[int, Callable[[], object]]()
        self._problem = problem

    def problem(self, base: str) -> str | None:
        del base
        return self._problem

    async def score(self, model: RewardModel, texts: Sequence[str]) -> Rewarded:
        self.requests.append(list(texts))
        self.models.append(model.training_id)
        if happens := self.at_request.get(len(self.requests)):
            happens()
        return [self._rewarded(text) for text in texts]

    async def close(self) -> None:
        """Nothing is loaded."""

    def _rewarded(self, text: str) -> RewardedText:
        words = text.split()
        return RewardedText(float(words[-1]) if len(words) <= CONTEXT_WORDS else None, len(words))
