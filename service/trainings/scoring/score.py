"""Scores texts by a project's reward model while the caller waits, and counts the tokens."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from service.access.admission import quotas_of
from service.access.quotas import check_tokens
from service.errors import Fault, InvalidInput, RewardsUnavailable
from service.jobs.checks.reward_models import find_reward_model
from service.ports.rewards import RewardScorer
from service.ports.store import ProjectStore
from service.records.rewards import Rewarded, RewardModel
from service.trainings.scoring.request import WRONG, ScoringRequest

PATIENCE_SECONDS = 60.0  # until the answer; loading continues afterwards, so a later request finds the model loaded


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredText:
    """A text's reward, known by its place in the request."""

    field: str
    score: float
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """The rewards of a request's texts, in their order, and the reward model that gave them."""

    model: RewardModel
    texts: Sequence[ScoredText]

    @property
    def tokens(self) -> int:
        """The tokens of all texts."""
        return sum(one.tokens for one in self.texts)


async def score_texts(
    request: ScoringRequest, store: ProjectStore, rewards: RewardScorer, *, patience_seconds: float = PATIENCE_SECONDS
) -> Scored:
    """Score every text of a request or none.

    Raises InvalidConfig if there is no such reward model, InvalidInput for texts over its context, QuotaExhausted,
    RewardModelUnusable, RewardsUnavailable, ArtifactsUnavailable, ArtifactMissing and StorageUnavailable.
    """
    model = await find_reward_model(store, rewards, request.reward)
    await _check_quota(store)
    requested = request.located_texts
    try:
        async with asyncio.timeout(patience_seconds):
            rewarded = await rewards.score(model, [text for _, text in requested])
    except TimeoutError as error:
        raise RewardsUnavailable(
            f"the reward model gave no answer in {patience_seconds:.0f} seconds: it is loading or busy; send the "
            "request again, with fewer or shorter texts if that does not help"
        ) from error
    await _charge(store, rewarded)
    fields = [field for field, _ in requested]
    if faults := list(_too_long(fields, rewarded)):
        raise InvalidInput(WRONG, faults)
    texts = [
        ScoredText(field=field, score=one.reward, tokens=one.tokens)
        for field, one in zip(fields, rewarded, strict=True)
        if one.reward is not None
    ]
    return Scored(model=model, texts=texts)


def _too_long(fields: Sequence[str], rewarded: Rewarded) -> Sequence[Fault]:
    return [
        Fault(
            f"takes {one.tokens} tokens, more than the reward model reads at once, and nothing is cut off: shorten it",
            field=field,
        )
        for field, one in zip(fields, rewarded, strict=True)
        if one.reward is None
    ]


async def _check_quota(store: ProjectStore) -> None:
    """Raise QuotaExhausted if the project has no tokens left today."""
    async with store.project_unit() as unit:
        quotas = await quotas_of(unit, store.quotas)
        if quotas.tokens_per_day:
            usage = await unit.account.usage()
            check_tokens(quotas, usage.tokens_today, usage.seconds_left_today)


async def _charge(store: ProjectStore, rewarded: Rewarded) -> None:
    """Count the tokens of all texts but those over the context, which the reward model did not read."""
    if tokens := sum(one.tokens for one in rewarded if one.reward is not None):
        async with store.project_unit() as unit:
            await unit.account.charge(tokens)
