"""Tasks that belong together: when one fails the others are cancelled, and that one error is raised."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from service.errors import BackendError

_Result = TypeVar("_Result")


async def together(work: Iterable[Coroutine[Any, Any, _Result]]) -> list[_Result]:
    """The results in order. Raises the error of whichever fails, once all others have ended."""
    async with task_group() as group:
        tasks = [group.create_task(one) for one in work]
    return [task.result() for task in tasks]


@asynccontextmanager
async def task_group() -> AsyncIterator[asyncio.TaskGroup]:
    """A task group that raises one error in place of a group of them."""
    failure: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as failures:
        failure = _worst(failures)
    if failure is not None:
        raise failure


def _worst(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """A defect of ours must not hide behind a failure of the server; else the first to come."""
    errors = list(_single(failures))
    return next((error for error in errors if not isinstance(error, BackendError)), errors[0])


def _single(failures: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in failures.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _single(error)
        else:
            yield error
