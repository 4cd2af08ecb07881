"""Sends one message over HTTP to an address that a stranger has given.

httpcore, the engine inside httpx, is used by itself: it follows no redirects, reads no proxies from the
environment and unpacks no bodies, and connections are opened by a backend of ours through its public interface.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from email.utils import parsedate_to_datetime

import httpcore
import httpx

from service.records.webhooks import Answer, NotDelivered
from service.webhooks.addresses import AddressPolicy, AddressRefused
from service.webhooks.http.network import GuardedBackend, Resolve, SystemResolver

_CONNECT_SECONDS = 10.0
# An answer's body, at which nobody looks, is heard out where it is short, so that the receiver sees no broken
# connection; a long or slow one is cut off. Its status has been said by then.
_READ_BYTES = 16_384
_READ_SECONDS = 2.0


class HttpSender:
    """Each message has a connection of its own, which is closed behind it.

    `timeout_seconds` is for everything: name, connection, sending, answer.
    """

    def __init__(
        self,
        policy: AddressPolicy,
        *,
        timeout_seconds: float,
        resolve: Resolve | None = None,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self._policy = policy
        self._timeout_seconds = timeout_seconds
        self._network = GuardedBackend(policy, resolve or SystemResolver())
        self._trust = trust or httpx.create_ssl_context()

    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> Answer:
        """One try. Raises NotDelivered."""
        with self._translated():
            self._policy.check_url(url)  # again: the operator may allow less by now
            async with asyncio.timeout(self._timeout_seconds), self._answered(url, body, headers) as answer:
                await _hear_out(answer)
                return Answer(status=answer.status, retry_after_seconds=_retry_after(answer))

    @asynccontextmanager
    async def _answered(self, url: str, body: bytes, headers: dict[str, str]) -> AsyncIterator[httpcore.Response]:
        extensions = {"timeout": {"connect": _CONNECT_SECONDS, "read": None, "write": None, "pool": None}}
        sent = list(headers.items())
        async with (
            httpcore.AsyncConnectionPool(ssl_context=self._trust, network_backend=self._network) as pool,
            pool.stream("POST", url, headers=sent, content=body, extensions=extensions) as answer,
        ):
            yield answer

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Whatever keeps an answer from coming, by a name of ours; texts of libraries may hold addresses."""
        try:
            yield
        except AddressRefused as error:
            raise NotDelivered("address_refused", f"the URL {error}") from error
        except (TimeoutError, httpcore.TimeoutException) as error:
            raise NotDelivered("timed_out", f"no answer within {self._timeout_seconds:g} s") from error
        except httpcore.ConnectError as error:
            if _cause(error, ssl.SSLError) is not None:
                raise NotDelivered("tls_failed", "the receiver's certificate cannot be trusted") from error
            raise NotDelivered("cannot_connect", "the receiver does not take connections") from error
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise NotDelivered("broken_off", "the connection broke, or what came was not HTTP") from error
        except (OSError, UnicodeError) as error:
            raise NotDelivered("name_unknown", "the receiver's name cannot be resolved") from error


async def _hear_out(answer: httpcore.Response) -> None:
    """Read the answer's body as far as it is short and comes at once."""
    read = 0
    with suppress(TimeoutError, httpcore.NetworkError, httpcore.ProtocolError):
        async with asyncio.timeout(_READ_SECONDS):
            async for part in answer.aiter_stream():
                read += len(part)
                if read > _READ_BYTES:
                    return


def _retry_after(answer: httpcore.Response) -> float | None:
    """Seconds that the receiver asks to be left alone (RFC 9110 §10.2.3); None where it does not say so readably."""
    text = _header(answer, b"retry-after")
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        now = parsedate_to_datetime(_header(answer, b"date"))  # by the receiver's clock, as the other one is
        return max(0.0, (parsedate_to_datetime(text) - now).total_seconds())
    except (ValueError, TypeError):  # no date; or one without a time zone
        return None


def _header(answer: httpcore.Response, wanted: bytes) -> str:
    return next((value.decode("latin-1") for name, value in answer.headers if name.lower() == wanted), "")


def _cause(error: BaseException, kind: type[BaseException]) -> BaseException | None:
    """The nearest error of this kind that led to the error."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, kind):
        seen = seen.__cause__ or seen.__context__
    return seen
