"""Checks a new job against the quotas of its project, within the transaction that stores the job."""

from service.access.quotas import check_room, limits_jobs, overridden
from service.identifiers import DatasetId
from service.ports.store import ProjectUnit
from service.records.access import Quotas, Size


async def quotas_of(unit: ProjectUnit, quotas: Quotas) -> Quotas:
    """The operator's `quotas`, replaced by the project's own where it has any."""
    return overridden(quotas, await unit.account.overrides())


async def refuse_early(unit: ProjectUnit, quotas: Quotas, size: Size) -> None:
    """Refuse a job beyond the quotas before anything is stored; `admit` decides finally. Raises QuotaExceeded."""
    quotas = await quotas_of(unit, quotas)
    if limits_jobs(quotas):
        check_room(quotas, await unit.account.usage(), size)


async def admit(unit: ProjectUnit, quotas: Quotas, size: Size, dataset_id: DatasetId | None = None) -> None:
    """Refuse a job beyond the quotas, or reserve its share of them until the commit. Raises QuotaExceeded.

    The caller has stored the data set already, if the job has one. The transaction now locks the project, so that
    concurrent jobs cannot exceed the quotas together.
    """
    quotas = await quotas_of(unit, quotas)
    if limits_jobs(quotas):
        await unit.account.lock()
        check_room(quotas, await unit.account.usage(excluding=dataset_id), size)
