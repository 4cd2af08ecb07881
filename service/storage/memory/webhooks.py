"""The twin's webhooks: a project's endpoints with their log, and the outbox as workers see it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from service.identifiers import DeliveryId, ProjectName, WebhookId
from service.ports.webhooks import (
    TEST_EVENT,
    Attempt,
    Delivery,
    DeliveryLease,
    DeliveryStatus,
    DueDelivery,
    NewDelivery,
    NewWebhook,
    Verdict,
    Webhook,
    WebhookChange,
)
from service.storage.lifecycle import parsed_time
from service.storage.memory.outbox import queue
from service.storage.memory.state import DeliveryRecord, State
from service.storage.webhook_queue import lease_lost
from service.storage.webhooks import delivery_not_found, too_many_webhooks, webhook_disabled, webhook_not_found
from service.webhooks.messages import trial_message
from service.webhooks.schedule import given_up


class MemoryWebhooks:
    """One project's endpoints."""

    def __init__(self, state: State, project: ProjectName) -> None:
        self._state = state
        self._project = project

    async def add(self, webhook: NewWebhook, *, at_most: int) -> Webhook:
        """Store an endpoint as of now. Raises QuotaExceeded where the project has so many."""
        used = len(await self.listed())
        if used >= at_most:
            raise too_many_webhooks(at_most, used)
        stored = Webhook(
            id=webhook.id,
            url=webhook.url,
            events=webhook.events,
            description=webhook.description,
            secret=webhook.secret,
            created_at=self._state.now(),
        )
        self._state.webhooks.put(webhook.id, stored)
        self._state.owners.put(webhook.id, self._project)
        return stored

    async def get(self, webhook_id: WebhookId) -> Webhook:
        """The endpoint. Raises WebhookNotFound."""
        webhook = self._state.webhooks.get(webhook_id)
        if webhook is None or self._state.owners.get(webhook_id) != self._project:
            raise webhook_not_found(webhook_id)
        return webhook

    async def listed(self) -> list[Webhook]:
        """All of the project's, the oldest first."""
        own = [found for key, found in self._state.webhooks.items() if self._state.owners.get(key) == self._project]
        return sorted(own, key=lambda webhook: (webhook.created_at, webhook.id))

    async def change(self, webhook_id: WebhookId, change: WebhookChange) -> Webhook:
        """Change an endpoint. Raises WebhookNotFound."""
        before = await self.get(webhook_id)
        changed = replace(
            before,
            url=before.url if change.url is None else change.url,
            events=before.events if change.events is None else change.events,
            description=before.description if change.description is None else change.description,
        )
        if change.enabled is not None and change.enabled != before.enabled:
            changed = replace(changed, enabled=change.enabled, disabled_reason=None, failing_since=None)
        self._state.webhooks.put(webhook_id, changed)
        if before.enabled and not changed.enabled:
            _give_up_pending(self._state, webhook_id)
        return changed

    async def rotate(self, webhook_id: WebhookId, secret: str, *, overlap_seconds: float) -> Webhook:
        """Sign with another secret from now on, and for so long with the present one too. Raises WebhookNotFound."""
        before = await self.get(webhook_id)
        until = self._state.now() + timedelta(seconds=overlap_seconds)
        rotated = replace(before, secret=secret, former_secret=before.secret, former_secret_until=until)
        self._state.webhooks.put(webhook_id, rotated)
        return rotated

    async def remove(self, webhook_id: WebhookId) -> None:
        """Delete an endpoint with its log. Raises WebhookNotFound."""
        await self.get(webhook_id)
        self._state.webhooks.drop(webhook_id)
        self._state.owners.drop(webhook_id)
        for record in _records(self._state, webhook_id):
            self._state.deliveries.drop(record.delivery.id)

    async def send_test(self, webhook_id: WebhookId, delivery_id: DeliveryId) -> Delivery:
        """Queue a message that only shows whether messages arrive. Raises WebhookNotFound, WebhookDisabled."""
        if not (await self.get(webhook_id)).enabled:
            raise webhook_disabled(webhook_id)
        body = trial_message(self._state.now())
        message = NewDelivery(id=delivery_id, webhook_id=webhook_id, job_id=None, type=TEST_EVENT, body=body)
        return queue(self._state, message)

    async def deliveries(self, webhook_id: WebhookId, *, limit: int, before: tuple[str, str] | None) -> list[Delivery]:
        """The log, newest first, older than the (created_at, id) given. Raises WebhookNotFound, InvalidCursor."""
        await self.get(webhook_id)
        found = [record.delivery for record in _records(self._state, webhook_id)]
        if before is not None:
            oldest = (parsed_time(before[0]), before[1])
            found = [delivery for delivery in found if (delivery.created_at, delivery.id) < oldest]
        found.sort(key=lambda delivery: (delivery.created_at, delivery.id), reverse=True)
        return [_shown(delivery) for delivery in found[:limit]]

    async def resend(self, webhook_id: WebhookId, delivery_id: DeliveryId) -> Delivery:
        """Send a message again from now on, with as many tries as a new one.

        Raises WebhookNotFound, DeliveryNotFound, WebhookDisabled.
        """
        webhook = await self.get(webhook_id)
        record = self._state.deliveries.get(delivery_id)
        if record is None or record.delivery.webhook_id != webhook_id:
            raise delivery_not_found(delivery_id)
        if not webhook.enabled:
            raise webhook_disabled(webhook_id)
        again = replace(
            record.delivery,
            status=DeliveryStatus.PENDING,
            tries=0,
            next_try_at=self._state.now(),
            finished_at=None,
        )
        self._state.deliveries.put(delivery_id, replace(record, delivery=again))
        return _shown(again)


class MemoryDeliveries:
    """The messages of all projects."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def claim(self, *, limit: int, per_webhook: int, lease_seconds: float) -> Sequence[DueDelivery]:
        """Lease messages that are due, the longest waiting first; so many of one endpoint at once."""
        now = self._state.now()
        held = [record.delivery.webhook_id for _, record in self._state.deliveries.items() if _is_held(record, now)]
        claimed: list[DueDelivery] = []
        for record in sorted((r for _, r in self._state.deliveries.items() if _is_free(r, now)), key=_waiting):
            webhook_id = record.delivery.webhook_id
            webhook = self._state.webhooks.get(webhook_id)
            if len(claimed) == limit or webhook is None or not webhook.enabled or held.count(webhook_id) >= per_webhook:
                continue
            held.append(webhook_id)
            claimed.append(self._lease(record, webhook, now, lease_seconds))
        return claimed

    async def record(self, lease: DeliveryLease, attempt: Attempt, verdict: Verdict) -> None:
        """Keep how a try went and what follows. Raises LeaseLost."""
        record, webhook = self._held(lease)
        now = self._state.now()
        waits = verdict.status is DeliveryStatus.PENDING
        delivery = replace(
            record.delivery,
            status=verdict.status,
            next_try_at=now + timedelta(seconds=verdict.wait_seconds) if waits else record.delivery.next_try_at,
            finished_at=None if waits else now,
            attempts=(*record.delivery.attempts, attempt),
        )
        self._state.deliveries.put(lease.delivery_id, replace(record, delivery=delivery, lease_until=None))
        self._note(webhook, verdict, now)

    def _lease(self, record: DeliveryRecord, webhook: Webhook, now: datetime, seconds: float) -> DueDelivery:
        tries, epoch = record.delivery.tries + 1, record.epoch + 1
        until = now + timedelta(seconds=seconds)
        leased = replace(record, delivery=replace(record.delivery, tries=tries), epoch=epoch, lease_until=until)
        self._state.deliveries.put(record.delivery.id, leased)
        former = webhook.former_secret
        is_former_good = webhook.former_secret_until is not None and webhook.former_secret_until > now
        return DueDelivery(
            lease=DeliveryLease(delivery_id=record.delivery.id, webhook_id=webhook.id, epoch=epoch),
            url=webhook.url,
            body=record.body,
            secrets=(webhook.secret, former) if former is not None and is_former_good else (webhook.secret,),
            tries=tries,
            claimed_at=now,
        )

    def _held(self, lease: DeliveryLease) -> tuple[DeliveryRecord, Webhook]:
        """The leased message and its endpoint. Raises LeaseLost."""
        record, webhook = self._state.deliveries.get(lease.delivery_id), self._state.webhooks.get(lease.webhook_id)
        if record is None or webhook is None:
            raise lease_lost(lease)
        if record.epoch != lease.epoch or record.delivery.status is not DeliveryStatus.PENDING:
            raise lease_lost(lease)
        return record, webhook

    def _note(self, webhook: Webhook, verdict: Verdict, now: datetime) -> None:
        """Keep what the try says about the endpoint, and disable it where that is due."""
        if verdict.status is DeliveryStatus.DELIVERED:
            self._state.webhooks.put(webhook.id, replace(webhook, failing_since=None))
            return
        reason = verdict.disable or given_up(webhook.failing_since, now)
        failing = replace(webhook, failing_since=webhook.failing_since or now)
        if reason is not None:
            failing = replace(failing, enabled=False, disabled_reason=reason)
            _give_up_pending(self._state, webhook.id)
        self._state.webhooks.put(webhook.id, failing)


def _records(state: State, webhook_id: WebhookId) -> list[DeliveryRecord]:
    return [record for _, record in state.deliveries.items() if record.delivery.webhook_id == webhook_id]


def _give_up_pending(state: State, webhook_id: WebhookId) -> None:
    for record in _records(state, webhook_id):
        if record.delivery.status is DeliveryStatus.PENDING:
            failed = replace(record.delivery, status=DeliveryStatus.FAILED, finished_at=state.now())
            state.deliveries.put(failed.id, replace(record, delivery=failed, lease_until=None))


def _shown(delivery: Delivery) -> Delivery:
    waits = delivery.status is DeliveryStatus.PENDING
    return replace(delivery, next_try_at=delivery.next_try_at if waits else None)


def _waiting(record: DeliveryRecord) -> tuple[datetime, str]:
    return record.delivery.next_try_at or record.delivery.created_at, record.delivery.id


def _is_held(record: DeliveryRecord, now: datetime) -> bool:
    pending = record.delivery.status is DeliveryStatus.PENDING
    return pending and record.lease_until is not None and record.lease_until >= now


def _is_free(record: DeliveryRecord, now: datetime) -> bool:
    pending = record.delivery.status is DeliveryStatus.PENDING
    return pending and _waiting(record)[0] <= now and not _is_held(record, now)
