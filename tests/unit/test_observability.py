"""What is logged by whomever comes out without the secret of any API key."""

import json
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


def test_lines_for_machines_stay_json_when_a_secret_is_taken_out() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, "json", KEY.text], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["level"] for line in lines] == ["info", "info", "error", "error", "warning", "info"]
