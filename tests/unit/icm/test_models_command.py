import json
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from icm.cli import build_app
from icm.commands import models
from tests.unit.icm.fake_service import FakeService

READY = {
    "id": "default",
    "kind": "vllm",
    "ready": True,
    "model": "Qwen/Qwen2.5-7B",
    "context_tokens": 32767,
    "replicas": 3,
    "prefix_cache": True,
    "cache_block_tokens": 16,
    "repeat_difference_nats": 0.0,
    "warm_difference_nats": 0.0625,
    "problems": [],
    "advice": ["set VLLM_BATCH_INVARIANT=1"],
}
UNFIT = {"id": "old", "kind": None, "ready": False, "problems": ["[gone]", "no label"], "later_field": 1}


@pytest.fixture
def out(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> pytest.CaptureFixture[str]:
    fake = FakeService(httpx.Response(200, json={"object": "list", "data": [READY, UNFIT]}))
    monkeypatch.setattr(models, "Client", lambda _url, api_key: fake.client())
    monkeypatch.setenv("COLUMNS", "160")
    return capsys


def test_a_table_describes_each_backend_and_lines_below_say_what_to_change(out: pytest.CaptureFixture[str]) -> None:
    models.models()
    head, *rows = out.readouterr().out.splitlines()
    assert head.split()[:3] == ["name", "kind", "ready"]
    assert " ".join(rows[0].split()) == "default vllm x 3 yes Qwen/Qwen2.5-7B 32.8k by 16 tokens 0.062"
    assert " ".join(rows[1].split()) == "old ? no ? ? ? ?"
    assert rows[2:] == [
        "default: advice: set VLLM_BATCH_INVARIANT=1",
        "old: problem: [gone]",
        "old: problem: no label",
    ]


def test_as_json_each_backend_is_a_line_with_every_field(out: pytest.CaptureFixture[str]) -> None:
    models.models(as_json=True)
    assert [json.loads(line) for line in out.readouterr().out.splitlines()] == [READY, UNFIT]


@pytest.mark.parametrize(
    ("found", "cell"),
    [
        ({"prefix_cache": None}, "?"),
        ({"prefix_cache": False}, "no"),
        ({"prefix_cache": True, "cache_block_tokens": None}, "yes"),
        ({"prefix_cache": True, "cache_block_tokens": 1}, "by 1 token"),
    ],
)
def test_unknown_facts_of_the_prefix_cache_are_not_shown(found: dict[str, Any], cell: str) -> None:
    assert list(models._cells({**READY, **found}))[5] == cell


@pytest.mark.parametrize(
    ("answer", "code"), [(httpx.ConnectError("refused"), 4), (httpx.Response(500, json={"title": "broken"}), 5)]
)
def test_a_service_that_does_not_answer_or_refuses_ends_as_in_other_commands(
    answer: httpx.Response | Exception, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "Client", lambda _url, api_key: FakeService(answer).client())
    assert CliRunner().invoke(build_app(), ["models"]).exit_code == code


def test_it_does_not_fail_because_a_backend_has_problems(out: pytest.CaptureFixture[str]) -> None:
    assert CliRunner().invoke(build_app(), ["models", "--json"]).exit_code == 0
