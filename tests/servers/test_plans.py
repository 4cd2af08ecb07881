import pytest

from tests.servers.faults import PASSING, Fault, Plan

PLANS = [
    Plan(),
    Plan(at={3: Fault.RESET_BEFORE, 1: Fault.OVERLOADED_DATE}),
    Plan.once(Fault.MALFORMED),
    Plan(at={2: Fault.RESTARTED}, seed=7, share=0.25, drawn=PASSING, spared_after=3),
]


@pytest.mark.parametrize("plan", PLANS, ids=["none", "numbered", "once", "drawn"])
def test_a_plan_can_be_read_from_its_text(plan: Plan) -> None:
    again = Plan.read(str(plan))
    assert again == plan
    calls = [(number, b"body %d" % (number % 17), 1 + number // 17) for number in range(1, 200)]
    assert [again.fault(*call) for call in calls] == [plan.fault(*call) for call in calls]


def test_numbers_decide_before_the_draw() -> None:
    plan = Plan(at={2: Fault.FAILED}, share=1.0, drawn=(Fault.EMPTY,))
    assert [plan.fault(number, b"x", 1) for number in (1, 2, 3)] == [Fault.EMPTY, Fault.FAILED, Fault.EMPTY]


def test_a_share_of_calls_is_drawn_whatever_their_order() -> None:
    plan = Plan(seed=3, share=0.2, drawn=PASSING)
    drawn = {body: plan.fault(body, b"%d" % body, 1) for body in range(1000)}
    assert 150 < sum(fault is not None for fault in drawn.values()) < 250
    assert set(filter(None, drawn.values())) == set(PASSING)
    assert {body: plan.fault(999 - body, b"%d" % body, 1) for body in range(999, -1, -1)} == drawn
    assert {body: Plan(seed=4, share=0.2, drawn=PASSING).fault(1, b"%d" % body, 1) for body in range(1000)} != drawn


def test_a_body_is_spared_once_it_has_failed_often_enough() -> None:
    assert [Plan.once(Fault.FAILED).fault(1, b"x", attempt) for attempt in (1, 2)] == [Fault.FAILED, None]
    assert Plan.always(Fault.FAILED).fault(9, b"x", 999) is Fault.FAILED
