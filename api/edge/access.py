"""Access control, which every request passes before the API reads its body.

The rule depends on method and path alone and ends in a refusal, so it also guards every route that somebody adds
later.
"""

import base64
import re
import time
from urllib.parse import unquote_plus

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.dependencies import Application
from api.errors import service_problem
from api.scopes import scope_needed
from service.access.authentication import authenticate, needs_key, permit
from service.access.hosts import AllowedHosts
from service.access.keys import redacted
from service.access.rates import RateLimiter, Standing
from service.errors import HostNotAllowed, NotAuthenticated, ServiceError
from service.records.access import Caller

_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/=-]+) *", re.IGNORECASE)
# Headers from which other services read keys.
_OTHER_HEADERS = ("x-api-key", "api-key", "x-auth-token", "x-access-token", "x-api-token")
_HOW_TO_SEND = "send `Authorization: Bearer icm_...`, the key without quotes"
_QUERY_NAMES = re.compile(r"(?:^|&)(?:api[_-]?key|access[_-]?token)=", re.IGNORECASE)


class HostCheck:
    """Answer 421 to every request for a host that is none of this service's names."""

    def __init__(self, app: ASGIApp, allowed: AllowedHosts) -> None:
        self._app = app
        self._allowed = allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http":
            try:
                self._allowed.check(Headers(scope=scope).getlist("host"))
            except HostNotAllowed as error:
                await service_problem(scope["state"]["request_id"], error)(scope, receive, send)
                return
        await self._app(scope, receive, send)


class AccessControl:
    """Pass requests on with their caller in `state.caller`, or answer 401, 403 or 429."""

    def __init__(self, app: ASGIApp, application: Application) -> None:
        settings = application.settings
        self._app = app
        self._store = application.store
        self._needs_key = needs_key(settings.host, required=settings.access.required)
        self._rates = RateLimiter(settings.access.requests_per_minute, time.monotonic)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        needed = scope_needed(scope["method"], scope["path"]) if scope["type"] == "http" else None
        if needed is None:
            await self._app(scope, receive, send)
            return
        state = scope["state"]
        standing = None
        try:
            caller = await self._caller(scope)
            state["caller"] = caller  # from here on the request's log line names the project
            if caller.key_id is not None:
                standing = self._rates.take(caller.key_id)
            if standing is not None:
                standing.check()
            permit(caller, needed)
        except ServiceError as error:
            await service_problem(state["request_id"], error)(scope, receive, _with_rate(standing, send))
            return
        with structlog.contextvars.bound_contextvars(project=caller.project, key_id=caller.key_id):
            await self._app(scope, receive, _with_rate(standing, send))

    async def _caller(self, scope: Scope) -> Caller:
        _refuse_key_in_address(scope)
        key = _key_of(Headers(scope=scope))
        if key is not None:
            return await authenticate(self._store, key, request_id=scope["state"]["request_id"])
        if self._needs_key:
            raise NotAuthenticated("an API key is needed: `Authorization: Bearer icm_...`")
        _refuse_foreign_page(scope)
        return Caller(request_id=scope["state"]["request_id"])


def _key_of(headers: Headers) -> str | None:
    """Return the request's API key, or None without a credential. Raises NotAuthenticated for an unreadable one.

    A caller who sends a credential expects recognition, so an unreadable one is an error and not an anonymous
    request. The exception is another server's password (Basic), which proxies forward.
    """
    given = headers.getlist("authorization")
    if len(given) > 1:
        raise NotAuthenticated("there is more than one Authorization header", key_was_sent=True)
    bearer = _BEARER.fullmatch(given[0]) if given else None
    if bearer is not None:
        return bearer[1]
    misplaced = next((name for name in headers if name in _OTHER_HEADERS or _holds_key(name, headers)), None)
    if misplaced is not None:
        raise NotAuthenticated(f"an API key is not read from the header {misplaced}; {_HOW_TO_SEND}")
    if given and not _is_foreign_password(given[0]):
        raise NotAuthenticated(f"the Authorization header cannot be read; {_HOW_TO_SEND}")
    return None


def _holds_key(name: str, headers: Headers) -> bool:
    """Whether a header from which keys are not read has one of ours, in whatever gateway's header that may be."""
    return name != "authorization" and any(redacted(value) != value for value in headers.getlist(name))


def _is_foreign_password(credential: str) -> bool:
    """Whether this is a password for HTTP's scheme Basic that contains no API key of ours."""
    scheme, _, encoded = credential.partition(" ")
    if scheme.lower() != "basic":
        return False
    try:
        password = base64.b64decode(encoded.strip(), validate=True).decode("latin-1")
    except ValueError:
        return False
    return ":" in password and redacted(password) == password


def _refuse_foreign_page(scope: Scope) -> None:
    """Refuse requests of web pages where no key is required: only this machine's programs may call without one.

    Browsers state the origin of a request (Fetch Metadata, Origin), other programs do not. `HostCheck` stops
    websites that give their own name to this machine.
    """
    headers = Headers(scope=scope)
    site, origin, host = (headers.get(name) for name in ("sec-fetch-site", "origin", "host"))
    if site is None and origin is None:
        return
    is_here = origin in {None, f"http://{host}"}
    is_link = scope["method"] == "GET" and headers.get("sec-fetch-mode") == "navigate"
    if not is_here or (site not in {None, "none", "same-origin"} and not is_link):
        raise NotAuthenticated("a request from a web page needs an API key, unless the page is this service's own")


def _with_rate(standing: Standing | None, send: Send) -> Send:
    """Send the answer with headers about the key's rate limit."""
    if standing is None:
        return send

    async def send_with_rate(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(standing.headers())
        await send(message)

    return send_with_rate


def _refuse_key_in_address(scope: Scope) -> None:
    query = unquote_plus(scope.get("query_string", b"").decode("latin-1"))
    if _QUERY_NAMES.search(query) or redacted(query) != query:
        raise NotAuthenticated(
            "an API key belongs in the Authorization header, never in an address, which logs keep; revoke this key",
            key_was_sent=True,
        )
