"""The API is killed where it hurts most; the long form of this is `make endure`."""

import pytest

from tests.endurance.api_kills import post_through_kills
from tests.endurance.duplicates import post_duplicates

pytestmark = pytest.mark.timeout(300)


def test_every_job_is_created_once_although_the_api_dies_between_commit_and_answer(database_url: str) -> None:
    outcome = post_through_kills(database_url, posts=30, kills=6, seed=5)
    assert outcome.is_exactly_once, outcome
    assert outcome.deaths["between commit and answer"] >= 1
    assert outcome.replayed >= 1


async def test_a_hundred_equal_posts_over_eight_connections_create_one_job(database_url: str) -> None:
    outcome = await post_duplicates(database_url, posts=100, connections=8)
    assert (outcome.statuses, outcome.jobs, outcome.bodies) == ({202}, 1, 1)
    assert outcome.replayed == 99
    assert outcome.changed_status == 422
