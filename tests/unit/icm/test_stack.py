import socket
from pathlib import Path

import pytest

from icm.ports import free_port
from icm.stack import NOTICE_SECONDS, LoadingNotice, StackOptions, metrics_port


def test_a_port_that_is_taken_is_not_called_free() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert free_port() != taken.getsockname()[1]


def test_a_free_port_can_be_listened_on() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", free_port()))


def test_the_url_is_one_that_callers_on_this_machine_can_use() -> None:
    assert StackOptions(data_folder=Path("d"), host="0.0.0.0", port=80).url == "http://127.0.0.1:80"  # noqa: S104 - compared
    assert StackOptions(data_folder=Path("d"), host="::", port=80).url == "http://[::1]:80"
    assert StackOptions(data_folder=Path("d"), host="10.0.0.7", port=80).url == "http://10.0.0.7:80"


def test_the_database_lies_in_a_data_folder_that_was_named(tmp_path: Path) -> None:
    assert StackOptions(data_folder=tmp_path).database_folder == tmp_path / "postgres"


def test_every_worker_of_a_stack_has_a_port_of_its_own_for_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICM_WORKER__METRICS_PORT", "9100")
    assert [metrics_port(number) for number in (1, 2, 3)] == [
        {"ICM_WORKER__METRICS_PORT": "9100"},
        {"ICM_WORKER__METRICS_PORT": "9101"},
        {"ICM_WORKER__METRICS_PORT": "9102"},
    ]


@pytest.mark.parametrize("port", ["", "0"])
def test_no_worker_serves_metrics_unless_a_port_is_set(port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICM_WORKER__METRICS_PORT", port)
    assert metrics_port(1) == metrics_port(2) == {}


class Loading:
    """An inference server that loads its language model: what it wrote last."""

    def __init__(self) -> None:
        self.line = ""

    def last_line(self, name: str) -> str:
        assert name == "inference"
        return self.line


def test_what_a_language_model_takes_long_over_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now, loading, said = [100.0], Loading(), list[str]()
    monkeypatch.setattr("icm.stack.time.monotonic", lambda: now[0])
    notice = LoadingNotice(loading, said.append)  # type: ignore[arg-type]  # it needs no more of a supervisor
    for line in ("", "", "converting the tokenizer", "converting the tokenizer", "reading the weights"):
        loading.line = line
        notice.when_due()
        now[0] += NOTICE_SECONDS
    assert [text.removeprefix("the language model is still being loaded: ") for text in said] == [
        "nothing in its log yet",
        "converting the tokenizer",
        "reading the weights",
    ]
