"""The one place where this service speaks HTTP to inference servers by itself."""

from typing import Any

import httpx

from service.errors import BackendRefused, BackendUnavailable
from service.scoring.failures import retry_after_seconds

_CONNECT_SECONDS = 10.0


class JsonHttp:
    """JSON over a pool of connections to one server; failures become backend errors.

    `api_key` travels as a bearer token (RFC 6750).
    """

    def __init__(self, url: str, *, timeout_seconds: float, connections: int, api_key: str | None = None) -> None:
        self._timeout_seconds = timeout_seconds
        self._client = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else None,
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            trust_env=False,
        )

    async def get(self, path: str) -> Any:
        """The JSON document at this path. Raises BackendUnavailable, BackendRefused."""
        return await self._send("GET", path, None, None)

    async def post(self, path: str, body: object, *, timeout_seconds: float | None = None) -> Any:
        """The JSON answer to this body, waited for as long as usual or as asked.

        Raises BackendUnavailable, BackendRefused.
        """
        return await self._send("POST", path, body, timeout_seconds)

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def _send(self, method: str, path: str, body: object, timeout_seconds: float | None) -> Any:
        timeout = httpx.Timeout(timeout_seconds or self._timeout_seconds, connect=_CONNECT_SECONDS)
        try:
            reply = await self._client.request(method, path, json=body, timeout=timeout)
        except httpx.TransportError as error:
            raise BackendUnavailable(f"{self._client.base_url}: {type(error).__name__} {error}".strip()) from error
        if reply.status_code == 429 or reply.status_code >= 500:
            after = retry_after_seconds(reply.headers.get("retry-after"))
            raise BackendUnavailable(f"{path} answered {reply.status_code}: {reply.text[:500]}", after)
        if reply.is_error:
            raise BackendRefused(f"{path} answered {reply.status_code}: {reply.text[:500]}")
        try:
            return reply.json()
        except ValueError as error:
            raise BackendUnavailable(f"{path} answered something that is not JSON: {reply.text[:200]!r}") from error
