import socket
from pathlib import Path

from icm.ports import free_port
from icm.stack import StackOptions


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
