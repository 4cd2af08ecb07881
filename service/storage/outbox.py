"""The outbox: with a change of a job, and in its transaction, one message for each endpoint that wants it."""

from sqlalchemy import any_, insert, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.identifiers import JobId, new_delivery_id
from service.lifecycle import Entry
from service.records.webhooks import DeliveryStatus
from service.storage.tables import jobs, webhook_deliveries, webhooks


async def queue_messages(connection: AsyncConnection, job_id: JobId, entry: Entry) -> None:
    """Store the message of an entry in the log of a job that this transaction holds, if it has one.

    An endpoint that is being deleted just now is waited for, since a message to none would undo the job's change.
    """
    if entry.message is None:
        return
    query = (
        select(webhooks.c.id)
        .join(jobs, jobs.c.project == webhooks.c.project)
        .where(jobs.c.id == job_id, webhooks.c.enabled, literal(entry.type) == any_(webhooks.c.events))
        .order_by(webhooks.c.id)
        .with_for_update(of=webhooks, read=True, key_share=True)
    )
    message = {"job_id": job_id, "type": entry.type, "body": entry.message, "status": DeliveryStatus.PENDING}
    found = (await connection.execute(query)).scalars()
    if rows := [{"id": new_delivery_id(), "webhook_id": webhook_id, **message} for webhook_id in found]:
        await connection.execute(insert(webhook_deliveries), rows)
