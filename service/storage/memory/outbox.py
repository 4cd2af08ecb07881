"""The twin's outbox: with a change of a job, one message for each endpoint that wants it."""

from service.identifiers import JobId, new_delivery_id
from service.ports.webhooks import Delivery, DeliveryStatus, NewDelivery
from service.storage.memory.state import DeliveryRecord, State
from service.webhooks.messages import JobFacts, is_told, job_message


def queue_messages(state: State, job_id: JobId, event_type: str) -> None:
    """Write the messages that tell of an event of a job."""
    if not is_told(event_type):
        return
    job, project = state.job(job_id), state.owner_of(job_id)
    error = None if job.error is None else dict(job.error)
    facts = JobFacts(id=job_id, name=job.config.name, status=job.status, error=error)
    body = job_message(event_type, state.now(), facts)
    for webhook_id, webhook in state.webhooks.items():
        if state.owners.get(webhook_id) == project and webhook.enabled and event_type in webhook.events:
            queue(
                state,
                NewDelivery(id=new_delivery_id(), webhook_id=webhook_id, job_id=job_id, type=event_type, body=body),
            )


def queue(state: State, message: NewDelivery) -> Delivery:
    """Add a message to the outbox."""
    now = state.now()
    delivery = Delivery(
        id=message.id,
        webhook_id=message.webhook_id,
        type=message.type,
        status=DeliveryStatus.PENDING,
        created_at=now,
        tries=0,
        next_try_at=now,
        finished_at=None,
    )
    state.deliveries.put(message.id, DeliveryRecord(delivery=delivery, job_id=message.job_id, body=message.body))
    return delivery
