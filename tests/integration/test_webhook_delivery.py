"""A message from a job's end to a receiver, through the processes that an operator runs."""

import pytest
from standardwebhooks.webhooks import Webhook as Verifier

from tests.support.raw_server import RawServer, serving
from tests.support.running.processes import laboratory, until, worker_processes

CONFIG = {"name": "pairs", "task": {"template": "{text}"}}
ROWS = [{"text": f"claim {number}"} for number in range(4)]


async def test_a_worker_process_reports_a_jobs_end_to_an_allowed_receiver(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICM_WEBHOOKS__ALLOWED_NETWORKS", "127.0.0.0/8")
    monkeypatch.setenv("ICM_WEBHOOKS__ALLOW_HTTP", "true")
    receiver = RawServer()
    async with serving(receiver) as url, laboratory(database_url) as lab:
        webhook = (await lab.client.post("/v1/webhooks", json={"url": f"{url}/hook"})).json()
        with worker_processes(database_url, lease_seconds=30.0) as workers:
            workers.start()
            job_id = await lab.submit(ROWS, CONFIG)
            await receiver.asked.wait()

            async def delivered() -> bool:
                answer = await lab.client.get(f"/v1/webhooks/{webhook['id']}/deliveries")
                return [sent["status"] for sent in answer.json()["data"]] == ["delivered"]

            await until(delivered)
    [(head, body)] = receiver.requests
    headers = dict(line.split(": ", 1) for line in head.strip().split("\r\n")[1:])
    told = Verifier(webhook["secret"]).verify(body, headers)
    assert told["type"] == "job.succeeded"
    assert told["data"] | {"links": {}} == {"job": job_id, "name": "pairs", "status": "succeeded", "links": {}}
