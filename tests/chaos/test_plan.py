from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.plan import LATEST, LONG, MIDDLE, SHORT, Kind, Plan, Scale

SEEDS = st.integers(0, 2**31)
COUNTS = st.dictionaries(st.sampled_from(sorted(Kind)), st.integers(0, 30))
SCALES = st.builds(
    Scale,
    paper_jobs=st.integers(1, 9),
    folds_jobs=st.integers(0, 9),
    served_jobs=st.integers(1, 4),
    steps=st.integers(1, 2000),
    folds_rows=st.integers(1, 500),
    faults=COUNTS,
)


@given(SEEDS, SCALES)
def test_a_seed_draws_the_same_plan_every_time(seed: int, scale: Scale) -> None:
    assert Plan.drawn(seed, scale) == Plan.drawn(seed, scale)


@given(SEEDS, SCALES)
def test_a_plan_can_be_read_from_its_text(seed: int, scale: Scale) -> None:
    plan = Plan.drawn(seed, scale)
    assert Plan.read(str(plan)) == plan


@given(SEEDS, SCALES)
def test_a_plan_has_as_many_jobs_and_faults_as_its_scale_says(seed: int, scale: Scale) -> None:
    plan = Plan.drawn(seed, scale)
    assert len(plan.jobs) == scale.jobs
    assert Counter(fault.kind for fault in plan.faults) == +Counter(scale.faults)
    assert sorted(plan.faults, key=hash) == sorted(
        (fault for job in range(scale.jobs) for fault in plan.of_job(job)), key=hash
    )


@given(SEEDS, SCALES)
def test_faults_come_while_their_job_is_under_way_and_spread_over_it(seed: int, scale: Scale) -> None:
    plan = Plan.drawn(seed, scale)
    for job in range(scale.jobs):
        moments = [fault.after for fault in plan.of_job(job)]
        width = LATEST / max(1, len(moments))
        assert all(width * place - 1e-4 <= at <= width * (place + 1) + 1e-4 for place, at in enumerate(moments))


@given(SEEDS, SCALES)
def test_only_jobs_with_an_inference_server_lose_it(seed: int, scale: Scale) -> None:
    plan = Plan.drawn(seed, replace(scale, faults={**scale.faults, Kind.SCORER: 1 + scale.faults.get(Kind.SCORER, 0)}))
    bereft = [plan.jobs[fault.job] for fault in plan.faults if fault.kind is Kind.SCORER]
    assert bereft != []
    assert all(job.served for job in bereft)


def test_another_seed_draws_another_plan() -> None:
    assert len({str(Plan.drawn(seed, SHORT)) for seed in range(50)}) == 50


@pytest.mark.parametrize("scale", [SHORT, MIDDLE, LONG], ids=["short", "middle", "long"])
def test_a_run_sees_every_kind_of_fault(scale: Scale) -> None:
    assert {fault.kind for fault in Plan.drawn(1, scale).faults} == set(Kind)
