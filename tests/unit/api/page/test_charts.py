import re
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.page.charts import digits, scale, thinned, ticks
from api.page.render import count, decimals, duration, percent, render_training
from service.identifiers import JobId
from service.records.jobs import JobStatus
from service.records.trainings import Training, TrainingReport
from tests.long import examples


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_span_the_range_at_even_steps(lower: float, extent: float) -> None:
    upper = lower + extent
    marks = ticks(lower, upper)
    steps = [after - before for before, after in pairwise(marks)]
    assert marks[0] <= lower + 1e-6 * extent + 1e-9
    assert marks[-1] >= upper - 1e-6 * extent - 1e-9
    assert 2 <= len(marks) <= 8
    assert max(steps) == pytest.approx(min(steps), rel=1e-3, abs=1e-6)


def test_ticks_are_round() -> None:
    assert ticks(0, 240) == [0, 100, 200, 300]
    assert ticks(-0.13, 0) == [-0.15, -0.1, -0.05, 0]
    assert ticks(3, 3) == [3]
    assert ticks(-1 / 3, -1 / 3) == [-0.33]


@given(st.floats(-1e4, 1e4), st.one_of(st.just(0.0), st.floats(1e-6, 1e4)))
def test_no_two_ticks_read_the_same(lower: float, extent: float) -> None:
    marks = ticks(lower, lower + extent)
    assert len({decimals(mark, digits(marks)) for mark in marks}) == len(set(marks))


@given(st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=9))
def test_every_value_lies_between_the_ends_of_its_scale(values: list[float]) -> None:
    x = scale(values, 24, 676)
    assert all(23.9 <= x(value) <= 676.1 for value in values)


def test_numbers_are_written_for_people() -> None:
    assert count(1234567) == "1\u202f234\u202f567"
    assert (percent(0.5), percent(0.1234, 1), percent(None)) == ("50\u202f%", "12.3\u202f%", "\u2013")
    assert (decimals(-1.5, 1), decimals(None)) == ("\u22121.5", "\u2013")
    assert [duration(seconds) for seconds in (None, 1.25, 600, 90_000)] == ["\u2013", "1.2 s", "10 min", "25.0 h"]


@given(st.lists(st.floats(-1e6, 1e6), max_size=700))
def test_a_long_curve_is_thinned_to_means_that_keep_its_mean_and_order(values: list[float]) -> None:
    points = [(float(step), value) for step, value in enumerate(values, 1)]
    kept = thinned(points, 300)
    assert len(kept) == len(points) <= 300 or 100 < len(kept) <= 300
    assert [step for step, _ in kept] == sorted(step for step, _ in kept)
    assert all(min(values) - 1e-6 <= value <= max(values) + 1e-6 for _, value in kept)


@settings(deadline=None, max_examples=examples(90))  # the first one compiles the template
@given(st.lists(st.one_of(st.floats(-1e6, 1e6), st.just(0.0), st.floats(0, 1e-9)), min_size=1, max_size=40))
def test_a_curve_stays_within_its_plot(values: list[float]) -> None:
    curves = {"kl_nats": [[step, value] for step, value in enumerate(values, 1)]}
    shown = render_training(training_report({"training": {"curves": curves}}))
    [path] = re.findall(r'<polyline class="path" points="([^"]*)"', shown)
    places = [tuple(map(float, place.split(","))) for place in path.split()]
    assert len(places) == len(values)
    assert all(56 <= x <= 448 and 12 <= y <= 150 for x, y in places)
    assert all(after[0] >= before[0] for before, after in pairwise(places))


def training_report(report: dict[str, object]) -> TrainingReport:
    training = Training(
        id=JobId("train_1"),
        config={"job_ids": ["job_1"], "kind": "policy", "policy": {"reward": "train_0"}},
        base="default",
        rows=2,
        status=JobStatus.SUCCEEDED,
        created_at=datetime(2026, 11, 30, tzinfo=UTC),
        started_at=None,
        finished_at=None,
        error=None,
        warnings=(),
        progress={},
        artifact=None,
    )
    return TrainingReport(training=training, manifest={}, report=report)
