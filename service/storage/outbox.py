"""Writes webhook messages to the outbox, in the transaction of the job's change that they report."""

from sqlalchemy import any_, insert, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.identifiers import JobId, new_delivery_id
from service.lifecycle import Entry
from service.records.webhooks import DeliveryStatus
from service.storage.tables import jobs, webhook_deliveries, webhooks


async def queue_messages(connection: AsyncConnection, job_id: JobId, entry: Entry) -> None:
    """Store a log entry's message, if it has one, for every endpoint that subscribes to it; the job is locked.

    Waits for a transaction that deletes an endpoint, since a message to a deleted one would roll back the job's change.
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
    found = await connection.scalars(query)
    if rows := [{"id": new_delivery_id(), "webhook_id": webhook_id, **message} for webhook_id in found]:
        await connection.execute(insert(webhook_deliveries), rows)
