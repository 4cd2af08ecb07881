import httpx
import pytest

from icm.retries import Outcome, RetryPolicy

POLICY = RetryPolicy(attempts=4, first_delay_seconds=1.0, longest_delay_seconds=3.0)


def answer(status: int, **headers: str) -> httpx.Response:
    return httpx.Response(status, headers={name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.parametrize(
    ("outcome", "attempt", "expected"),
    [
        (answer(200), 1, None),
        (answer(404), 1, None),
        (answer(500), 1, None),  # an internal error would come again
        (answer(503), 1, 1.0),
        (answer(429), 2, 2.0),
        (httpx.ConnectError("refused"), 3, 3.0),  # 4 s, but 3 at most
        (httpx.ReadTimeout(""), 4, None),  # the last attempt allowed
        (answer(503, Retry_After="2"), 1, 2.0),
        (answer(503, Retry_After="60"), 1, 3.0),
        (answer(503, Retry_After="Tue, 24 Nov 2026 00:00:00 GMT"), 1, 1.0),
        (httpx.UnsupportedProtocol("ftp"), 1, None),
    ],
)
def test_transient_failures_are_retried_with_growing_waits(
    outcome: Outcome, attempt: int, expected: float | None
) -> None:
    delay = POLICY.delay_seconds(outcome, attempt=attempt, repeatable=True, draw=lambda: 1.0)
    assert delay == expected


def test_jitter_shortens_a_wait_by_up_to_half() -> None:
    assert POLICY.delay_seconds(answer(503), attempt=1, repeatable=True, draw=lambda: 0.0) == 0.5


def test_a_call_that_is_not_repeatable_is_made_once() -> None:
    delay = POLICY.delay_seconds(httpx.ConnectError(""), attempt=1, repeatable=False, draw=lambda: 1.0)
    assert delay is None


def test_a_patient_client_waits_no_longer_after_thousands_of_attempts() -> None:
    patient = RetryPolicy(attempts=10_000, first_delay_seconds=0.02, longest_delay_seconds=0.2)
    delay = patient.delay_seconds(httpx.ConnectError(""), attempt=5_000, repeatable=True, draw=lambda: 1.0)
    assert delay == 0.2
