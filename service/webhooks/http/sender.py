"""Sends one webhook message over HTTP to a URL that a user has given and that may be hostile.

It uses httpcore, the transport of httpx, directly: httpcore follows no redirects, reads no proxies from the
environment, decompresses no bodies, and lets `network.py` open its connections.
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
# The sender ignores an answer's body, but reads a short one to its end so that the receiver sees no broken
# connection. It drops a long or slow body; by then it has the status.
_READ_BYTES = 16_384
_READ_SECONDS = 2.0


class HttpSender:
    """Sends each message over a connection of its own, and closes it afterwards.

    `timeout_seconds` covers everything: resolving the name, connecting, sending, and the answer.
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
        """Make one attempt. Raises NotDelivered."""
        with self._translate_errors():
            self._policy.check_url(url)  # again, since the operator may have restricted the rules
            async with asyncio.timeout(self._timeout_seconds), self._stream(url, body, headers) as answer:
                await _drain(answer)
                return Answer(status=answer.status, retry_after_seconds=_retry_after(answer))

    @asynccontextmanager
    async def _stream(self, url: str, body: bytes, headers: dict[str, str]) -> AsyncIterator[httpcore.Response]:
        extensions = {"timeout": {"connect": _CONNECT_SECONDS, "read": None, "write": None, "pool": None}}
        sent = list(headers.items())
        async with (
            httpcore.AsyncConnectionPool(ssl_context=self._trust, network_backend=self._network) as pool,
            pool.stream("POST", url, headers=sent, content=body, extensions=extensions) as answer,
        ):
            yield answer

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Translate errors to NotDelivered with texts of our own, since those of libraries may contain addresses."""
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


async def _drain(answer: httpcore.Response) -> None:
    """Read the answer's body up to a limit of size and time, and discard it."""
    read = 0
    with suppress(TimeoutError, httpcore.NetworkError, httpcore.ProtocolError):
        async with asyncio.timeout(_READ_SECONDS):
            async for part in answer.aiter_stream():
                read += len(part)
                if read > _READ_BYTES:
                    return


def _retry_after(answer: httpcore.Response) -> float | None:
    """The seconds of the receiver's Retry-After (RFC 9110 §10.2.3); None if it is missing or unreadable."""
    text = _header(answer, b"retry-after")
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        now = parsedate_to_datetime(_header(answer, b"date"))  # both dates are by the receiver's clock
        return max(0.0, (parsedate_to_datetime(text) - now).total_seconds())
    except (ValueError, TypeError):  # no date; or one without a time zone
        return None


def _header(answer: httpcore.Response, wanted: bytes) -> str:
    return next((value.decode("latin-1") for name, value in answer.headers if name.lower() == wanted), "")


def _cause(error: BaseException, kind: type[BaseException]) -> BaseException | None:
    """The nearest error of this kind in the chain of causes."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, kind):
        seen = seen.__cause__ or seen.__context__
    return seen
