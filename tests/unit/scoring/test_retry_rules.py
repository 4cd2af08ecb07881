from random import Random

import pytest

from service.errors import BackendRefused, BackendUnavailable, FailureKind
from service.scoring.calls.retry_rules import (
    FIRST_DELAY_SECONDS,
    MAX_DELAY_SECONDS,
    MAX_FAILURES,
    MAX_RETRY_AFTER_SECONDS,
    Attempts,
    Retry,
    Verdict,
    decide,
    failed_answer,
    means_absence,
    retry_after_seconds,
)

NOW = "Tue, 24 Nov 2026 12:00:00 GMT"
PATIENCE_SECONDS = 60.0


def decided(error: BackendUnavailable, attempts: Attempts, outage_seconds: float = 0.0) -> Verdict:
    return decide(error, attempts, Random(0), outage_seconds=outage_seconds, patience_seconds=PATIENCE_SECONDS)


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (429, '{"error":"Model is overloaded","error_type":"overloaded"}', FailureKind.OVERLOADED),
        (503, '{"error":{"message":"The request queue is full."}}', FailureKind.OVERLOADED),
        (503, '{"error":{"message":"Request waiting timeout reached."}}', FailureKind.OVERLOADED),
        (503, '{"error":{"message":"The engine is currently busy. Please retry."}}', FailureKind.OVERLOADED),
        (503, '{"error":{"message":"above the prefill token backlog limit"}}', FailureKind.OVERLOADED),
        (503, '{"error":{"message":"Loading model","type":"unavailable_error"}}', FailureKind.SERVER),
        (503, "<html>no healthy upstream</html>", FailureKind.SERVER),
        (408, "", FailureKind.SERVER),
        (424, '{"error":"Request failed during generation","error_type":"generation"}', FailureKind.SERVER),
        (500, '{"error":"Incomplete generation","error_type":"incomplete_generation"}', FailureKind.SERVER),
        (502, "Bad Gateway", FailureKind.SERVER),
    ],
)
def test_an_answer_that_may_be_another_next_time_is_unavailable(status: int, text: str, kind: FailureKind) -> None:
    error = failed_answer(status, text, where="/generate", retry_after_seconds=3.0)
    assert isinstance(error, BackendUnavailable)
    assert (error.kind, error.status, error.retry_after_seconds) == (kind, status, 3.0)
    assert str(error).startswith(f"/generate answered {status}")


@pytest.mark.parametrize("status", [307, 400, 401, 404, 422, 501, 505])
def test_an_answer_that_would_be_the_same_next_time_is_a_refusal(status: int) -> None:
    error = failed_answer(status, "no", where="/generate")
    assert isinstance(error, BackendRefused)
    assert str(error) == f"/generate answered {status}: no"


@pytest.mark.parametrize(
    ("error", "absent"),
    [
        (BackendUnavailable("broken", kind=FailureKind.DISCONNECTED), True),
        (BackendUnavailable("loading", kind=FailureKind.SERVER, status=503), True),
        (BackendUnavailable("no upstream", kind=FailureKind.SERVER, status=502), True),
        (BackendUnavailable("full", kind=FailureKind.OVERLOADED, status=503), False),
        (BackendUnavailable("failed", kind=FailureKind.SERVER, status=500), False),
        (BackendUnavailable("late", kind=FailureKind.TIMED_OUT), False),
    ],
    ids=str,
)
def test_a_server_that_was_gone_may_be_another_one(error: BackendUnavailable, *, absent: bool) -> None:
    assert means_absence(error) is absent


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("3", 3.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("", None),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("Tue, 24 Nov 2026 12:00:30 GMT", 30.0),
        ("Tuesday, 24-Nov-26 12:00:30 GMT", 30.0),
        ("Tue Nov 24 12:00:30 2026", 30.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
    ],
)
def test_retry_after_holds_seconds_or_a_date(header: str, seconds: float | None) -> None:
    assert retry_after_seconds({"date": NOW, "retry-after": header}) == seconds


def test_a_date_is_not_read_without_the_servers_time() -> None:
    assert retry_after_seconds({"retry-after": "Tue, 24 Nov 2026 12:00:30 GMT"}) is None
    assert retry_after_seconds({"date": NOW}) is None


@pytest.mark.parametrize("failures", [1, 3, 100])
@pytest.mark.parametrize("kind", list(FailureKind))
def test_a_failure_that_may_pass_is_tried_again_after_a_bounded_delay(kind: FailureKind, failures: int) -> None:
    overloaded = kind is FailureKind.OVERLOADED
    attempts = Attempts(overloads=failures) if overloaded else Attempts(failures=failures)
    verdict = decided(BackendUnavailable("down", kind=kind), attempts, outage_seconds=PATIENCE_SECONDS - 1)
    assert isinstance(verdict, Retry)
    assert 0 <= verdict.after_seconds <= min(MAX_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2 ** (failures - 1))


@pytest.mark.parametrize(("asked", "obeyed"), [(40.0, 40.0), (3600.0, MAX_RETRY_AFTER_SECONDS)])
def test_the_servers_own_delay_is_obeyed_within_reason(asked: float, obeyed: float) -> None:
    error = BackendUnavailable("busy", asked, kind=FailureKind.OVERLOADED)
    verdict = decided(error, Attempts(overloads=1))
    assert isinstance(verdict, Retry)
    assert obeyed <= verdict.after_seconds <= obeyed + FIRST_DELAY_SECONDS


def test_calls_that_fail_together_do_not_return_together() -> None:
    error, rng = BackendUnavailable("busy", 1.0, kind=FailureKind.OVERLOADED), Random(0)
    verdicts = [
        decide(error, Attempts(overloads=4), rng, outage_seconds=0, patience_seconds=PATIENCE_SECONDS)
        for _ in range(20)
    ]
    assert len(set(verdicts)) == 20


def test_overloads_do_not_use_up_attempts() -> None:
    attempts = Attempts()
    for _ in range(1000):
        attempts = attempts.with_failure(FailureKind.OVERLOADED, others_answered=True)
    assert attempts == Attempts(overloads=1000)
    assert isinstance(decided(BackendUnavailable("busy", kind=FailureKind.OVERLOADED), attempts), Retry)


@pytest.mark.parametrize("kind", list(FailureKind))
def test_where_nothing_is_answered_for_too_long_the_server_is_unavailable(kind: FailureKind) -> None:
    error = BackendUnavailable("down", 7.0, kind=kind)
    verdict = decided(error, Attempts(overloads=3, failures=3), outage_seconds=PATIENCE_SECONDS)
    assert isinstance(verdict, BackendUnavailable)
    assert (verdict.kind, verdict.retry_after_seconds) == (kind, 7.0)
    assert str(verdict) == "no call has been answered for 60 s; at last: down"


@pytest.mark.parametrize("kind", [FailureKind.SERVER, FailureKind.MALFORMED])
def test_a_call_that_fails_again_and_again_while_others_are_answered_is_refused(kind: FailureKind) -> None:
    error = BackendUnavailable("failed", kind=kind, status=500 if kind is FailureKind.SERVER else None)
    attempts = Attempts()
    for _ in range(MAX_FAILURES[kind] - 1):
        attempts = attempts.with_failure(kind, others_answered=True)
        assert isinstance(decided(error, attempts), Retry)
    verdict = decided(error, attempts.with_failure(kind, others_answered=True))
    assert isinstance(verdict, BackendRefused)
    assert str(verdict) == "failed 6 times while the server answered other calls; at last: failed"


@pytest.mark.parametrize("kind", [FailureKind.SERVER, FailureKind.MALFORMED])
def test_failures_are_not_held_against_a_call_while_nothing_is_answered(kind: FailureKind) -> None:
    attempts = Attempts()
    for _ in range(100):
        attempts = attempts.with_failure(kind, others_answered=False)
    assert isinstance(decided(BackendUnavailable("failed", kind=kind), attempts), Retry)


@pytest.mark.parametrize(
    "error",
    [
        BackendUnavailable("late", kind=FailureKind.TIMED_OUT),
        BackendUnavailable("broken", kind=FailureKind.DISCONNECTED),
        BackendUnavailable("one replica loads", kind=FailureKind.SERVER, status=503),
    ],
    ids=str,
)
def test_a_call_that_does_not_get_through_is_given_up_without_blaming_its_prompt(error: BackendUnavailable) -> None:
    attempts = Attempts()
    while isinstance(verdict := decided(error, attempts), Retry):
        attempts = attempts.with_failure(error.kind, others_answered=True)
        assert attempts.failures <= max(MAX_FAILURES.values())
    assert isinstance(verdict, BackendUnavailable)
    assert attempts.failures >= 4
