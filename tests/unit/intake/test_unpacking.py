"""The process that reads Parquet files: what it is given, and how its end is reported."""

import os
import signal
import subprocess
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from service.errors import InvalidDataset, PayloadTooLarge, SpoolFull
from service.intake.unpacked.unpacking import _environment, _outcome, _run, unpack_parquet
from service.jobs.checks.rows import FaultLog
from tests.unit.intake.helpers import SMALL


def ended(code: int, *, said: bytes = b"", complained: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    return subprocess.CompletedProcess([], code, said, complained)


def test_a_crash_is_the_files_fault() -> None:
    log = FaultLog(5)
    outcome = _outcome(ended(-signal.SIGSEGV))
    log.add_all(outcome.faults, dict(outcome.counts))
    with pytest.raises(InvalidDataset) as caught:
        log.raise_any()
    assert "SIGSEGV" in caught.value.faults[0].message


def test_a_file_that_takes_too_long_is_too_large() -> None:
    with pytest.raises(PayloadTooLarge, match="seconds"):
        _outcome(ended(-signal.SIGXCPU))


def test_a_process_that_cannot_start_is_an_error_of_the_service() -> None:
    with pytest.raises(RuntimeError, match="No module named pyarrow"):
        _outcome(ended(1, complained=b"ModuleNotFoundError: No module named pyarrow"))


def test_the_process_gets_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://secret")
    monkeypatch.setenv("ICM_BACKENDS", "secret")
    assert "secret" not in str(_environment())
    assert _environment()["PATH"] == os.environ["PATH"]


def test_rows_are_unpacked_once_and_read_as_often_as_wanted() -> None:
    with tempfile.TemporaryFile() as file:
        pq.write_table(pa.table({"a": [1, 2, float("nan"), 4]}), file)
        file.flush()
        unpacked = unpack_parquet(file, SMALL)
    try:
        for _ in range(2):
            log = FaultLog(5)
            assert [(row.line, row.fields["a"]) for row in unpacked.rows(log)] == [(1, 1.0), (2, 2.0), (4, 4.0)]
            assert [(fault.line, fault.field) for fault in log.reported] == [(3, "a")]
    finally:
        unpacked.close()


def test_faults_of_two_readings_are_reported_up_to_the_limit_and_counted_beyond() -> None:
    told, log = FaultLog(10), FaultLog(2)
    for line in range(1, 6):
        told.add("bad", line=line, field="a")
    log.add("first")
    log.add_all(told.alike, told.counts)
    with pytest.raises(InvalidDataset) as caught:
        log.raise_any()
    assert [(fault.message, fault.line) for fault in caught.value.faults] == [
        ("first", None),
        ("bad; likewise on 5 lines: 1, 2, 3 and 2 more", 1),
    ]


def test_faults_of_one_cause_in_two_readings_are_one() -> None:
    told, log = FaultLog(10), FaultLog(10)
    for line in (1, 2):
        told.add(f"bad {line}", line=line, cause="bad")
        log.add(f"bad {line + 5}", line=line + 5, cause="bad")
    log.add_all(told.alike, told.counts)
    assert len(log) == 4
    assert [fault.message for fault in log.reported] == ["bad 6; likewise on 4 lines: 6, 7, 1 and 1 more"]


def test_a_disk_without_room_for_the_rows_is_not_the_files_fault() -> None:
    with tempfile.TemporaryFile() as file:
        pq.write_table(pa.table({"a": range(10)}), file)
        file.seek(0)
        with Path("/dev/full").open("wb", buffering=0) as full:
            done = _run(file, full, SMALL, lambda: None)
    with pytest.raises(SpoolFull):
        _outcome(done)
