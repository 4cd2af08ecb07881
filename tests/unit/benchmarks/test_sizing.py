import pytest

from benchmarks.sizing import (
    CONTEXTS,
    DOCUMENT,
    GIB,
    H100,
    LARGE,
    SMALL,
    TABLES,
    Job,
    Set,
    measured_jobs,
    updated,
)


def test_the_page_shows_every_table_as_it_is_worked_out_now() -> None:
    page = DOCUMENT.read_text("utf-8")
    assert [name for name in TABLES if f"<!-- table: {name} -->" not in page] == []
    assert updated(page, measured_jobs()) == page


@pytest.mark.parametrize(
    ("shape", "parameters", "kv_bytes"), [(SMALL, 8_030_261_248, 131_072), (LARGE, 70_553_706_496, 327_680)]
)
def test_shapes_have_the_published_number_of_parameters(shape: object, parameters: int, kv_bytes: int) -> None:
    assert isinstance(shape, type(SMALL))
    assert shape.parameters == parameters
    assert shape.kv_bytes("bf16") == kv_bytes
    assert shape.kv_bytes("fp8") * 2 == kv_bytes


def test_a_long_context_of_the_small_shape_takes_16_gib() -> None:
    assert CONTEXTS[-1] * SMALL.kv_bytes("bf16") == 16 * GIB


def test_weights_that_do_not_fit_leave_no_room_for_a_prefix() -> None:
    assert Set(LARGE, H100, "bf16", 1).kv_tokens == 0
    assert Set(LARGE, H100, "bf16", 4).kv_tokens > CONTEXTS[-1]


def test_time_grows_with_tokens_computed_and_falls_with_gpus() -> None:
    job = Job("some", prompts=2.0, sent=100.0, computed=3.0)
    short, long = (sum(Set(SMALL, H100, "bf16", 1).seconds_a_row(job.cost(tokens))) for tokens in (100, 200))
    halved = sum(Set(SMALL, H100, "bf16", 2).seconds_a_row(job.cost(100)))
    assert long > 1.9 * short
    assert halved == pytest.approx(short / 2)


def test_jobs_are_those_that_were_measured() -> None:
    one_shard, behind_anchor = measured_jobs()
    assert one_shard.computed > behind_anchor.computed > 0
    assert one_shard.prompts > behind_anchor.prompts >= 1
