"""Opens connections to Postgres, and turns its driver's errors into `service.errors`."""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
from sqlalchemy import URL, event, make_url
from sqlalchemy.engine import AdaptedConnection
from sqlalchemy.exc import DBAPIError, InvalidatePoolError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from service.errors import StorageFull, StorageUnavailable

CONNECT_SECONDS = 10.0
IDLE_IN_TRANSACTION_SECONDS = 10.0  # a process that stopped within a transaction must not hold its locks for long

# Classes of SQLSTATE after which the same statement may succeed later: connection (08), rollback because of another
# transaction (40), resources such as disk or connections (53), intervention by the operator (57), I/O (58).
_PASSING = ("08", "40", "53", "57", "58")
_DISK_FULL = "53100"
# The server answers, but the database is not ready: no such database, table or column; password refused.
_UNPREPARED = ("3D000", "42P01", "42703", "28P01", "28000")


def database_url(url: str) -> URL:
    """The URL with the service's driver; the input may begin with `postgres:` or `postgresql:` and name any driver."""
    return make_url(url).set(drivername="postgresql+asyncpg")


def driver_address(url: str) -> str:
    """The same URL in the form that asyncpg and Postgres' own programs accept; it contains the password."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def create_engine(
    url: str, *, pool_size: int = 10, statement_timeout_seconds: float = 60.0, application_name: str = "icm"
) -> AsyncEngine:
    """An engine whose connections are tested before use and whose statements end in bounded time."""
    engine = create_async_engine(
        database_url(url),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=CONNECT_SECONDS,  # for callers that do not queue in `Connections`
        connect_args={
            "timeout": CONNECT_SECONDS,
            # A server that is frozen or cut off cannot enforce its own time-out.
            "command_timeout": statement_timeout_seconds + CONNECT_SECONDS,
            "server_settings": {
                "application_name": application_name,
                "timezone": "UTC",
                "statement_timeout": _milliseconds(statement_timeout_seconds),
                "idle_in_transaction_session_timeout": _milliseconds(IDLE_IN_TRANSACTION_SECONDS),
            },
        },
    )
    event.listen(engine.sync_engine, "checkout", _test)
    return engine


def _test(connection: AdaptedConnection, *_: object) -> None:
    """Test a connection. If it is dead, the pool replaces it and tests all older ones.

    This takes one round trip; the pool's own test (`pool_pre_ping`) would open a transaction around it.
    """
    try:
        connection.run_async(lambda driver: driver.execute("SELECT 1"))
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, ConnectionError) as error:
        raise InvalidatePoolError("the connection is dead") from error


@contextmanager
def driver_errors() -> Iterator[None]:
    """Raise StorageUnavailable for errors that mean "Postgres cannot serve us now", and StorageFull for a full disk.

    Other errors are programming errors and pass through.
    """
    try:
        yield
    except PoolTimeout as error:
        raise StorageUnavailable("all connections to Postgres are in use") from error
    except asyncpg.InternalClientError as error:  # asyncpg raises it if a connection breaks during a call
        raise StorageUnavailable(f"Postgres: {error}") from error
    except (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        if _sqlstate(error) == _DISK_FULL:
            raise StorageFull(f"the disk of Postgres is full: {_reason(error)}") from error
        if _is_passing(error):
            raise StorageUnavailable(f"Postgres: {_reason(error)}") from error
        raise


@contextmanager
def connection_errors() -> Iterator[None]:
    """Like `driver_errors`, for opening a connection: refusals arrive as plain OSErrors."""
    try:
        with driver_errors():
            yield
    except TimeoutError as error:
        raise StorageUnavailable("Postgres cannot be reached: no answer in time") from error
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise StorageUnavailable(f"Postgres cannot be reached: {error or type(error).__name__}") from error


def _is_passing(error: Exception) -> bool:
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    sqlstate = _sqlstate(error)
    if sqlstate is not None:
        return sqlstate[:2] in _PASSING or sqlstate in _UNPREPARED
    # Without a state the error comes from the driver: it could not send a value, or the connection is gone.
    cause = _driver_error(error)
    return isinstance(cause, asyncpg.InterfaceError | OSError) and not isinstance(cause, ValueError)


def _sqlstate(error: Exception) -> str | None:
    state = getattr(_driver_error(error), "sqlstate", None)
    return state if isinstance(state, str) else None


def _driver_error(error: BaseException) -> BaseException:
    """The driver's own error, below SQLAlchemy's wrappers."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        return _driver_error(error.orig)
    return error.__cause__ if isinstance(error.__cause__, asyncpg.PostgresError | asyncpg.InterfaceError) else error


def _reason(error: Exception) -> str:
    cause = _driver_error(error)
    return str(cause).splitlines()[0] if str(cause) else type(cause).__name__


def _milliseconds(seconds: float) -> str:
    return str(int(seconds * 1000))
