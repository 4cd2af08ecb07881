"""The HTTP client for inference servers: JSON requests with time-outs, and failures as backend errors."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NotRequired, TypedDict, Unpack

import httpx
import orjson
import structlog

from service.errors import BackendRefused, BackendUnavailable, FailureKind
from service.scoring.calls.retry_rules import error_in_body, failed_answer, retry_after_seconds

logger = structlog.get_logger(__name__)

_CONNECT_SECONDS = 10.0
_WRITE_SECONDS = 30.0  # longest time without a byte sent
_KEEPALIVE_SECONDS = 4.0  # uvicorn, below vLLM and SGLang, closes idle connections after 5 s
_SHOWN_CHARACTERS = 500  # of an answer, in an error message
_OF_THE_COMMAND = frozenset({400, 404, 409, 422, 500})  # statuses by which servers refuse a command
_HEADERS = {"Content-Type": "application/json"}
NO_CONNECTION = "nothing accepts connections at the inference server's address; it is down, or still loads its model"
BROKEN_CONNECTION = "the connection to the inference server broke before a whole HTTP answer had come"
_SENT = "http11.send_request_body.complete"  # httpcore's event for a request fully sent


class Connection(TypedDict):
    """The settings of a connection, which every wire passes on."""

    timeout_seconds: float
    connections: int
    api_key: NotRequired[str | None]


class JsonHttp:
    """Sends and receives JSON over a pool of connections to one server; failures become backend errors.

    The pool reuses connections. The executor limits the number of calls, so waiting for a connection has no time-out.
    Cancelling a call closes its connection, which tells the server to stop. The client sends `api_key` as a bearer
    token (RFC 6750), and removes it from every error text. Raises ValueError for a key that no header can hold.
    """

    def __init__(self, url: str, **connection: Unpack[Connection]) -> None:
        self._timeout_seconds = connection["timeout_seconds"]
        self._secret = (connection.get("api_key") or "").strip()
        if not (self._secret.isascii() and self._secret.isprintable()):
            raise ValueError("the API key has characters that an HTTP header cannot hold")
        self._client = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {self._secret}"} if self._secret else {},
            limits=httpx.Limits(
                max_connections=connection["connections"],
                max_keepalive_connections=connection["connections"],
                keepalive_expiry=_KEEPALIVE_SECONDS,
            ),
            trust_env=False,
        )
        address = self._client.base_url
        self._server = f"{address.scheme}://{address.netloc.decode()}"  # without a password that the URL may hold

    async def get(self, path: str) -> Any:
        """The JSON document at this path. Raises BackendUnavailable, BackendRefused."""
        return self._read(path, await self._request("GET", path, None, None))

    async def post(self, path: str, body: object, *, timeout_seconds: float | None = None) -> Any:
        """The JSON answer to this body; `timeout_seconds` replaces the client's time-out.

        Raises BackendUnavailable, BackendRefused.
        """
        return self._read(path, await self._request("POST", path, orjson.dumps(body), timeout_seconds))

    async def order(self, path: str, body: object) -> str | None:
        """Post a command whose answer is no JSON; None if the server did it, else the words of its refusal.

        An error of the server counts as a refusal. Raises BackendUnavailable, and BackendRefused for a wrong key.
        """
        reply = await self._request("POST", path, orjson.dumps(body), None)
        if reply.is_success:
            return None
        if reply.status_code in _OF_THE_COMMAND:
            return self._words(reply)
        raise failed_answer(reply.status_code, self._excerpt(reply), where=path)

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def _request(
        self, method: str, path: str, body: bytes | None, timeout_seconds: float | None
    ) -> httpx.Response:
        answer_seconds = timeout_seconds or self._timeout_seconds
        phases = httpx.Timeout(answer_seconds, connect=_CONNECT_SECONDS, write=_WRITE_SECONDS, pool=None)
        async with self._translate_errors(path, answer_seconds):
            # httpx's time-outs hold for one chunk of data: a server that sends a byte now and then never exceeds them.
            async with asyncio.timeout(None) as deadline:

                async def trace(event: str, info: object) -> None:
                    del info
                    if event == _SENT:
                        deadline.reschedule(asyncio.get_running_loop().time() + answer_seconds)

                return await self._client.request(
                    method, path, content=body, headers=_HEADERS, timeout=phases, extensions={"trace": trace}
                )

    def _read(self, path: str, reply: httpx.Response) -> Any:
        """The JSON of an answer. Raises BackendUnavailable, BackendRefused."""
        if not reply.is_success:
            after = retry_after_seconds(reply.headers)
            raise failed_answer(reply.status_code, self._excerpt(reply), where=path, retry_after_seconds=after)
        try:
            content = _parse(reply.content)
        except (ValueError, RecursionError) as error:
            message = f"{path} answered something that is not JSON: {self._excerpt(reply)!r}"
            raise BackendUnavailable(message, kind=FailureKind.MALFORMED) from error
        if (server_error := _error_in(content)) is not None:
            raise error_in_body(server_error, self._redact(_error_text(server_error)), where=path)
        return content

    @asynccontextmanager
    async def _translate_errors(self, where: str, answer_seconds: float) -> AsyncIterator[None]:
        """Translate transport failures to backend errors.

        Users read these errors, so the server's address, which only operators may see, goes to the log instead.
        """
        try:
            yield
        except (httpx.TransportError, TimeoutError) as error:
            reason = f"{type(error).__name__} {self._redact(str(error))}".strip()
            logger.info("an inference server did not answer", server=self._server, path=where, reason=reason)
            raise self._failure(where, answer_seconds, error) from error
        except httpx.DecodingError as error:
            message = f"{where} sent a body that cannot be unpacked: {error}"
            raise BackendUnavailable(message, kind=FailureKind.MALFORMED) from error

    def _failure(self, where: str, answer_seconds: float, error: Exception) -> BackendUnavailable | BackendRefused:
        """The backend error for a call without an answer."""
        match error:
            case httpx.ReadTimeout() | httpx.WriteTimeout() | httpx.PoolTimeout() | TimeoutError():
                message = f"{where}: no answer within {answer_seconds:g} s"
                return BackendUnavailable(message, kind=FailureKind.TIMED_OUT)
            case httpx.UnsupportedProtocol() | httpx.LocalProtocolError():
                return BackendRefused(f"{where}: {self._redact(str(error))}")
            case httpx.ConnectError() | httpx.ConnectTimeout():
                message = f"{where}: {NO_CONNECTION}"
            case _:
                message = f"{where}: {BROKEN_CONNECTION}"
        failure = BackendUnavailable(message, kind=FailureKind.DISCONNECTED)
        failure.broke = isinstance(error, httpx.ReadError | httpx.WriteError | httpx.RemoteProtocolError)
        return failure

    def _excerpt(self, reply: httpx.Response) -> str:
        """The excerpt of an answer for an error message."""
        text = self._redact(reply.text)[:_SHOWN_CHARACTERS]
        if reply.status_code != 401:
            return text
        return f"{text} (the backend's api_key {'is not the right one' if self._secret else 'is not set'})"

    def _words(self, reply: httpx.Response) -> str:
        """The message of a refusal, without the JSON around it."""
        try:
            content = _parse(reply.content)
        except (ValueError, RecursionError):
            return self._excerpt(reply)
        error = _error_in(content) or (content.get("error_message") if isinstance(content, dict) else None)
        return self._redact(_error_text(error))[:_SHOWN_CHARACTERS] if error else self._excerpt(reply)

    def _redact(self, text: str) -> str:
        """The text without the API key, which a server or a library may repeat."""
        return text.replace(self._secret, "***") if self._secret else text


def _error_in(content: object) -> Any:
    """The error that an answer consists of; None if it is another answer.

    Servers write it as `error`, some gateways as `detail` alone, and vLLM once wrote `"object": "error"`.
    """
    answer = content[0] if isinstance(content, list) and len(content) == 1 else content
    if not isinstance(answer, dict):
        return None
    if answer.get("object") == "error":
        return answer
    return answer.get("error") or (answer["detail"] if set(answer) == {"detail"} else None) or None


def _error_text(error: object) -> str:
    """The message of an error in a server's JSON."""
    message = error.get("message") if isinstance(error, dict) else error
    return message if isinstance(message, str) and message else json.dumps(error, ensure_ascii=False)


def _parse(content: bytes) -> Any:
    """Parse JSON, including the infinities that Python servers write. Raises ValueError, RecursionError."""
    try:
        return orjson.loads(content)
    except ValueError:
        return json.loads(content)
