"""Reading a data set ends when it takes too long, and when its client has left."""

import gzip
import io
from collections.abc import Iterator

import pytest

from service.errors import PayloadTooLarge, RequestTooSlow
from service.intake.bounds.limits import Limits
from service.intake.bounds.watching import Watch, WatchedFile
from service.intake.formats import Upload
from service.intake.sources import FileSource
from service.jobs.checks.rows import FaultLog

LIMITS = Limits(max_bytes=100_000_000, max_rows=100_000_000, max_row_bytes=1_000)
BLANK_LINES = b"\n" * 400_000  # three of the blocks that are read at once
CONTENTS = {
    "a.jsonl": b'{"a": 1}\n' * 40_000,
    "a.csv": b"a,b\n" + b"1,2\n" * 100_000,
    "blank.jsonl": b'{"a": 1}\n' + BLANK_LINES,
    "blank.csv": b"a,b\n1,2\n" + BLANK_LINES,
    "packed.jsonl": gzip.compress(b'{"a": 1}\n' + BLANK_LINES),
}


class Clock:
    """A clock that advances by this many seconds whenever it is read."""

    def __init__(self, step: float) -> None:
        self.now = 0.0
        self.step = step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.mark.parametrize("name", CONTENTS)
def test_nothing_is_read_for_a_client_that_left(name: str) -> None:
    with FileSource(io.BytesIO(CONTENTS[name]), Upload(name, None), LIMITS) as source:
        rows = source.rows(FaultLog(10))
        assert next(rows).line in {1, 2}
        source.cancel()
        with pytest.raises(RequestTooSlow, match="the client left"):
            list(rows)


@pytest.mark.parametrize("name", CONTENTS)
def test_no_format_is_read_for_longer_than_the_limit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with FileSource(io.BytesIO(CONTENTS[name]), Upload(name, None), LIMITS) as source:
        monkeypatch.setattr(source, "_watch", Watch(seconds=2.0, clock=Clock(1.0)))
        with pytest.raises(PayloadTooLarge, match="more than 2 seconds"):
            list(source.rows(FaultLog(10)))


def test_time_between_two_rows_is_not_counted() -> None:
    clock = Clock(0.0)
    watch = Watch(seconds=5.0, clock=clock)

    def slowly() -> Iterator[int]:
        for number in range(4):
            clock.now += 1.0
            yield number

    seen = 0
    for number in watch.over(slowly()):
        seen += 1
        clock.now += 100.0
        assert number == seen - 1
    assert seen == 4


def test_a_watched_file_reads_as_the_file_does() -> None:
    content = bytes(range(256)) * 100
    assert io.BufferedReader(WatchedFile(io.BytesIO(content), Watch())).read() == content
