"""API keys from the first one on, as operators and users handle them."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from icm.cli import build_app
from service.access.keys import key_of, new_key, read_key
from tests.acceptance.api_process import api_process

pytestmark = pytest.mark.timeout(300)


async def test_the_log_says_how_to_make_the_first_key(database_url: str, tmp_path: Path) -> None:
    logs = []
    for made in (False, True):
        if made:
            await keys(database_url, "create", "first")
        log = tmp_path / f"log {made}"
        async with api_process(database_url, log=log, settings={"ICM_ACCESS__REQUIRED": "true"}) as api:
            assert (await api.client.get("/v1/jobs")).status_code == 401
        logs.append(log.read_text())
    assert ["icm keys create" in log for log in logs] == [True, False]


async def test_beyond_loopback_the_api_lets_nobody_in_without_a_key_whatever_is_set(database_url: str) -> None:
    [made] = told(await keys(database_url, "create", "first", "--json"))
    everywhere = {"ICM_HOST": "0.0.0.0", "ICM_ACCESS__REQUIRED": "false"}  # noqa: S104 - what is tested
    async with api_process(database_url, settings=everywhere) as api:
        for path in ("/v1/jobs", "/v1/models", "/metrics"):
            assert (await api.client.get(path)).status_code == 401, path
        assert (await api.client.post("/v1/jobs", json={})).status_code == 401
        forged = key_of(made["id"], bytes(32)).text
        sent = [{"Authorization": f"Bearer {key}"} for key in (forged, made["key"])]
        assert [(await api.client.get("/v1/jobs", headers=header)).status_code for header in sent] == [401, 200]
        assert (await api.client.get("/health/ready")).status_code == 200


async def test_keys_are_created_listed_and_revoked(database_url: str) -> None:
    options = ("--project", "birds", "--scope", "read", "--days", "1.5", "--json")
    [first] = told(await keys(database_url, "create", "first", *options))
    [second] = told(await keys(database_url, "create", "second", "--json"))
    secret = first.pop("key")
    assert read_key(secret).id == first["id"]
    assert (first["project"], first["name"], first["scopes"]) == ("birds", "first", ["read"])
    assert (second["project"], second["scopes"], second["expires_at"]) == ("default", ["read", "write"], None)
    assert [found["id"] for found in told(await keys(database_url, "list", "--json"))] == [first["id"], second["id"]]
    assert told(await keys(database_url, "list", "--project", "birds", "--json")) == [first]
    assert told(await keys(database_url, "revoke", first["id"], "--json"))[0]["revoked_at"] is not None
    shown = (await keys(database_url, "list")).stdout
    assert "revoked" in shown
    assert secret not in shown


async def test_key_commands_that_fail_end_with_exit_codes(database_url: str, tmp_path: Path) -> None:
    assert (await keys(database_url, "revoke", "abcdefghijkl")).exit_code == 5
    pasted = new_key().text
    refused = await keys(database_url, "revoke", pasted)
    assert (refused.exit_code, pasted in refused.stderr) == (5, False)
    assert (await keys(database_url, "create", "a", "--project", "No Name")).exit_code == 3
    assert (await keys(database_url, "create", "a", "--scope", "all")).exit_code == 2
    assert (await keys("postgresql://icm:icm@127.0.0.1:1/icm", "list")).exit_code == 4
    nowhere = await keys(database_url, "list", "--json", "--data-dir", str(tmp_path / "none"))
    assert nowhere.exit_code == 2
    assert "no database" in json.loads(nowhere.stderr)["error"]["detail"]
    assert not (tmp_path / "none").exists()


async def test_a_project_is_given_quotas_of_its_own(database_url: str) -> None:
    await keys(database_url, "create", "a", "--project", "birds")
    limit = ("projects", "limit")
    limited = await command(database_url, *limit, "birds", "rows=5", "bytes=0", "--json")
    assert told(limited)[0]["quotas"] == {"rows": 5, "bytes": 0}
    back = await command(database_url, *limit, "birds", "rows=default", "--json")
    assert told(back)[0]["quotas"] == {"bytes": 0}
    listed = told(await command(database_url, "projects", "list", "--json"))
    assert [(found["name"], found["quotas"]) for found in listed] == [("birds", {"bytes": 0}), ("default", {})]
    wrong = [("bees", "rows=1"), ("birds", "row=1"), ("birds", "rows=-1"), ("birds", "rows")]
    assert [(await command(database_url, *limit, *given)).exit_code for given in wrong] == [5, 3, 2, 2]


async def test_the_audit_log_is_shown_newest_first(database_url: str) -> None:
    [first] = told(await keys(database_url, "create", "a", "--project", "birds", "--json"))
    await keys(database_url, "revoke", first["id"])
    [other] = told(await keys(database_url, "create", "b", "--json"))
    entries = told(await command(database_url, "audit", "--json"))
    assert [(entry["action"], entry["target"]) for entry in entries] == [
        ("key.created", other["id"]),
        ("key.revoked", first["id"]),
        ("key.created", first["id"]),
    ]
    of_birds = told(await command(database_url, "audit", "--project", "birds", "--limit", "1", "--json"))
    assert of_birds == entries[1:2]
    assert "key.revoked" in (await command(database_url, "audit")).stdout


async def keys(database_url: str, *arguments: str) -> Result:
    return await command(database_url, "keys", *arguments)


async def command(database_url: str, *arguments: str) -> Result:
    """A command in this process that finds the database by the environment, as in a container."""
    environment = {"DATABASE_URL": database_url, "ICM_DATABASE_URL": None}
    return await asyncio.to_thread(lambda: CliRunner().invoke(build_app(), list(arguments), env=environment))


def told(done: Result) -> list[dict[str, Any]]:
    """What it wrote with --json."""
    assert done.exit_code == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
