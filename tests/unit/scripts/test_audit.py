"""The audit against a vulnerability service on loopback: no failure passes for "nothing found"."""

import json
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from icm.local_stack.free_ports import free_port
from scripts.audit import FINE, FOUND, NOT_MADE, PINNED, main, pinned

Answer = tuple[int, str]
NOTHING: Answer = (200, "{}")
VULNERABILITY = {
    "id": "PYSEC-2026-1",
    "aliases": ["CVE-2026-1"],
    "summary": "it can be made to cry",
    "affected": [
        {
            "package": {"name": "onion", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.1"}]}],
        }
    ],
}


class Service:
    """Speaks as OSV's `POST /v1/query` does."""

    def __init__(self) -> None:
        self.asked = list[tuple[str, str]]()
        self.answer: Callable[[str], Answer] = lambda _: NOTHING
        self.url = ""

    def answered(self, query: Mapping[str, Any]) -> Answer:
        self.asked.append((query["package"]["name"], query["version"]))
        return self.answer(query["package"]["name"])


@pytest.fixture
def service() -> Iterator[Service]:
    told = Service()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send((405, ""))

        def do_POST(self) -> None:
            self._send(told.answered(json.loads(self.rfile.read(int(self.headers["Content-Length"])))))

        def log_request(self, code: object = "-", size: object = "-") -> None:
            """Say nothing."""

        def _send(self, answer: Answer) -> None:
            status, text = answer
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        told.url = f"http://127.0.0.1:{server.server_port}/v1/query"
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield told
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def requirements(tmp_path: Path) -> Path:
    path = tmp_path / "constraints.txt"
    path.write_text("onion==1.0\n# a comment\nleek==2.3.4\n")
    return path


@pytest.fixture(autouse=True)
def _not_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ICM_AUDIT", raising=False)


def audit(url: str, requirements: Path) -> int:
    return main(["--osv-url", url, "--requirements", str(requirements)])


def test_packages_without_known_vulnerabilities_pass_and_each_was_asked_about(
    service: Service, requirements: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert audit(service.url, requirements) == FINE
    assert sorted(service.asked) == [("leek", "2.3.4"), ("onion", "1.0")]
    assert "2 packages of constraints.txt, 0 known vulnerabilities" in capfd.readouterr().err


def test_a_known_vulnerability_fails_and_is_told_with_the_release_that_mends_it(
    service: Service, requirements: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    service.answer = lambda name: (200, json.dumps({"vulns": [VULNERABILITY]})) if name == "onion" else NOTHING
    assert audit(service.url, requirements) == FOUND
    assert "onion 1.0: PYSEC-2026-1, CVE-2026-1, fixed by 1.1" in capfd.readouterr().err


@pytest.mark.parametrize(("demand", "status"), [("", FINE), ("required", NOT_MADE)], ids=["tolerant", "required"])
def test_where_nobody_can_be_asked_it_is_said_aloud_and_fails_where_it_is_required(
    requirements: Path,
    demand: str,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("ICM_AUDIT", demand)
    assert audit(f"http://127.0.0.1:{free_port()}/v1/query", requirements) == status
    told = capfd.readouterr().err
    assert "WARNING" in told
    assert "NOTHING was checked: 2 packages of constraints.txt" in told


@pytest.mark.parametrize(
    "answer",
    [(500, ""), (403, "no"), (200, "<html>welcome to this hotel's network</html>"), (200, '{"vulns": 1}')],
    ids=["broken", "forbidden", "another page", "another form"],
)
def test_a_service_that_answers_without_an_answer_fails_the_audit(
    service: Service, requirements: Path, answer: Answer, capfd: pytest.CaptureFixture[str]
) -> None:
    service.answer = lambda _: answer
    assert audit(service.url, requirements) == NOT_MADE
    assert "NOT MADE" in capfd.readouterr().err


def test_a_package_that_is_left_out_fails_the_audit(
    service: Service, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "constraints.txt"
    path.write_text('onion==1.0\nleek==2.3.4; python_version < "3"\n')
    assert audit(service.url, path) == NOT_MADE
    assert "1 of 2 packages" in capfd.readouterr().err


def test_every_package_is_pinned_to_one_version() -> None:
    assert len(pinned(PINNED)) > 100
    for line in pinned(PINNED):
        name, _, version = line.partition("==")
        assert name
        assert version
