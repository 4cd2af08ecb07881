"""Decides within the transaction that stores a job whether its project has room for it."""

from service.access.quotas import check_room, limits_jobs, overridden
from service.identifiers import DatasetId
from service.ports.store import ProjectUnit
from service.records.access import Quotas, Size


async def quotas_of(unit: ProjectUnit, quotas: Quotas) -> Quotas:
    """The quotas that count for the project unit's project, where these are the operator's for all."""
    return overridden(quotas, await unit.account.overrides())


async def refuse_early(unit: ProjectUnit, quotas: Quotas, size: Size) -> None:
    """Refuse what has no room just now before anything is stored; `admit` has the last word. Raises QuotaExceeded."""
    quotas = await quotas_of(unit, quotas)
    if limits_jobs(quotas):
        check_room(quotas, await unit.account.usage(), size)


async def admit(unit: ProjectUnit, quotas: Quotas, size: Size, dataset_id: DatasetId | None = None) -> None:
    """Refuse a job without room, its data set being stored already if it has one, or keep the room until the commit.

    The project is locked from here on, so that of many who come at once no more than fit are let in.
    Raises QuotaExceeded.
    """
    quotas = await quotas_of(unit, quotas)
    if limits_jobs(quotas):
        await unit.account.lock()
        check_room(quotas, await unit.account.usage(besides=dataset_id), size)
