"""The outbox: with a change of a job, and in its transaction, one message for each endpoint that wants it."""

from sqlalchemy import any_, func, insert, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.entities import JobStatus
from service.identifiers import JobId, new_delivery_id
from service.ports.webhooks import DeliveryStatus
from service.storage.tables import jobs, webhook_deliveries, webhooks
from service.webhooks.messages import JobFacts, is_told, job_message


async def queue_messages(connection: AsyncConnection, job_id: JobId, event_type: str) -> None:
    """Write the messages that tell of an event of a job, which this transaction holds.

    An endpoint that is being deleted just now is waited for, since a message to none would undo the job's change.
    """
    if not is_told(event_type):
        return
    wanted = webhooks.c.enabled & (literal(event_type) == any_(webhooks.c.events))
    facts = (jobs.c.status, jobs.c.error, jobs.c.config["name"].as_string().label("name"))
    query = (
        select(webhooks.c.id, *facts, func.clock_timestamp().label("now"))
        .join(jobs, jobs.c.project == webhooks.c.project)
        .where(jobs.c.id == job_id, wanted)
        .order_by(webhooks.c.id)
        .with_for_update(of=webhooks, read=True, key_share=True)
    )
    found = (await connection.execute(query)).all()
    if not found:
        return
    job = JobFacts(id=job_id, name=found[0].name or "", status=JobStatus(found[0].status), error=found[0].error)
    body = job_message(event_type, found[0].now, job)
    message = {"job_id": job_id, "type": event_type, "body": body, "status": DeliveryStatus.PENDING}
    rows = [{"id": new_delivery_id(), "webhook_id": row.id, **message} for row in found]
    await connection.execute(insert(webhook_deliveries), rows)
