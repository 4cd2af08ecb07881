"""Whichever code writes a log line, it contains no secret of an API key."""

import json
import os
import subprocess
import sys

import pytest

from service.access.keys import key_of

KEY = key_of("abcdefghijkl", bytes(range(32)))
SECRET = KEY.text.rpartition("_")[2]
PROGRAM = """
import logging, sys
import structlog
from service.observability import configure_logging

key = sys.argv[2]
configure_logging(sys.argv[1], "DEBUG")
log, plain = structlog.get_logger("api"), logging.getLogger("uvicorn.error")
log.info("a key " + key, key=key, nested={"keys": [key, {key: key}]})
plain.info("started with %s", key)
try:
    raise RuntimeError("it was " + key)
except RuntimeError:
    log.exception("failed")
    plain.exception("failed too")
with structlog.contextvars.bound_contextvars(header="Bearer " + key):
    log.warning("bound")
log.info("said of a key " + key[:-5])
"""


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_log_line_has_the_secret_of_a_key(form: str) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, form, KEY.text], capture_output=True, text=True, check=True)
    assert SECRET[:20] not in done.stdout + done.stderr
    assert done.stderr.count(f"icm_{KEY.id}_***") >= 8
    assert "Traceback" in done.stderr


def test_callers_text_cannot_steer_the_terminal_that_shows_logs() -> None:
    program = PROGRAM.replace("sys.argv[2]", "chr(27) + '[2J' + chr(155) + chr(0x202E)")
    done = subprocess.run([sys.executable, "-c", program, "console"], capture_output=True, text=True, check=True)
    assert not {"\x1b", "\x9b", "\u202e"} & set(done.stderr)
    assert done.stderr.count("\\x1b[2J\\x9b") >= 6


def test_json_log_lines_stay_json_when_a_secret_is_removed() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, "json", KEY.text], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["level"] for line in lines] == ["info", "info", "error", "error", "warning", "info"]


@pytest.mark.parametrize("form", ["json", "console"])
def test_an_unexpected_error_is_a_log_line_like_all_others_without_the_secret(form: str) -> None:
    program = (
        "import sys; from service.observability import configure_logging; configure_logging(sys.argv[1], 'INFO');"
        "raise RuntimeError(sys.argv[2])"
    )
    done = subprocess.run([sys.executable, "-c", program, form, KEY.text], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert SECRET[:20] not in done.stderr
    assert "RuntimeError" in done.stderr
    if form == "json":
        [line] = [json.loads(line) for line in done.stderr.splitlines()]
        assert (line["level"], line["logger"]) == ("critical", "service")


def test_a_warning_of_python_is_a_line_like_all_others() -> None:
    program = (
        "import warnings; from service.observability import configure_logging; configure_logging('json', 'INFO');"
        "warnings.warn('old')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    [line] = [json.loads(line) for line in done.stderr.splitlines()]
    assert (line["level"], line["logger"]) == ("warning", "py.warnings")


@pytest.mark.parametrize(
    ("module", "variable"),
    [
        ("workers", "ICM_TELEMETRY__OTLP_ENDPOINT"),
        pytest.param("api", "ICM_TELEMETRY__OTLP_ENDPOINT", marks=pytest.mark.long),
        pytest.param("api", "OTEL_EXPORTER_OTLP_ENDPOINT", marks=pytest.mark.long),
        pytest.param("workers", "OTEL_EXPORTER_OTLP_ENDPOINT", marks=pytest.mark.long),
    ],
)
def test_traces_without_the_packages_for_them_end_the_process_with_what_to_install(module: str, variable: str) -> None:
    program = f"import sys; sys.modules['opentelemetry.sdk'] = None; import {module}.__main__ as door; door.main()"
    environment = {**os.environ, variable: "http://127.0.0.1:9"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1
    assert "pip install 'icm-service[telemetry]'" in done.stderr
    assert "Traceback" not in done.stderr
