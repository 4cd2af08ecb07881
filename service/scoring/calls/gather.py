"""Runs tasks together: if one fails, cancels the others and raises that one error instead of an exception group."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from service.errors import BackendError

_Result = TypeVar("_Result")


async def together(work: Iterable[Coroutine[Any, Any, _Result]]) -> list[_Result]:
    """Run all at once and return the results in order. Raises the error of one that fails, once all have ended."""
    async with task_group() as group:
        tasks = [group.create_task(one) for one in work]
    return [task.result() for task in tasks]


@asynccontextmanager
async def task_group() -> AsyncIterator[asyncio.TaskGroup]:
    """A task group that raises one error instead of an exception group."""
    failure: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as failures:
        failure = _worst(failures)
    if failure is not None:
        raise failure


def _worst(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error that is not a BackendError, since it shows a defect of ours; otherwise the first error."""
    errors = list(_single(failures))
    return next((error for error in errors if not isinstance(error, BackendError)), errors[0])


def _single(failures: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in failures.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _single(error)
        else:
            yield error
