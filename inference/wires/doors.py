"""Refuse requests of web pages and ambiguous requests before the server reads their bodies.

There are no keys: whoever can connect may send requests. A web page in a browser on this machine can connect, too, and
could learn from `cached_tokens` which prompts others have scored. Browsers state the origin of a request (Host, Origin,
Fetch Metadata), and ask before they send JSON for another site.
"""

from http import HTTPStatus

import orjson
from fastapi import Response
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from inference.wires.hosts import AllowedHosts

PROBLEM_JSON = "application/problem+json"
_SHOWN_CHARACTERS = 100
_MAX_HEAD_BYTES = 16_384


class Doors:
    """Pass requests on, or answer with a problem (RFC 9457): 400, 403, 415, 421 or 431."""

    def __init__(self, app: ASGIApp, allowed: AllowedHosts) -> None:
        self._app = app
        self._allowed = allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        refusal = None
        if scope["type"] == "http":
            refusal = _refusal_of_head(scope) or self._refusal(scope["method"], Headers(scope=scope))
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, method: str, headers: Headers) -> Response | None:
        hosts = headers.getlist("host")
        if not self._allowed.allow_all(hosts):
            shown = ", ".join(hosts)[:_SHOWN_CHARACTERS]
            detail = f"this server does not answer to the host {shown!r}: ask for it by its address, or name the host"
            return _problem(HTTPStatus.MISDIRECTED_REQUEST, f"{detail} when it is started (--allowed-hosts)")
        if _is_of_foreign_page(headers, hosts[0]):
            return _problem(
                HTTPStatus.FORBIDDEN, "a request from a web page is answered only for this server's own pages"
            )
        if method == "POST" and _media_type(headers) != "application/json":
            given = _media_type(headers)[:_SHOWN_CHARACTERS] or "(none)"
            detail = f"Content-Type {given} is not read here; send application/json"
            return _problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail)
        return None


def _refusal_of_head(scope: Scope) -> Response | None:
    """The fault of a head that is too long or ambiguous (request smuggling; RFC 9112 §6.1)."""
    headers = Headers(scope=scope)
    if "transfer-encoding" in headers and ("content-length" in headers or scope.get("http_version") == "1.0"):
        refusal = _problem(HTTPStatus.BAD_REQUEST, "it is not plain where the body ends: send one of its two lengths")
    elif sum(len(name) + len(value) + 4 for name, value in scope["headers"]) > _MAX_HEAD_BYTES:
        refusal = _problem(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"headers have more than {_MAX_HEAD_BYTES} bytes"
        )
    else:
        return None
    refusal.headers["Connection"] = "close"
    return refusal


def _is_of_foreign_page(headers: Headers, host: str) -> bool:
    """Whether a browser marks the request as cross-site; other programs send no mark."""
    is_other_site = headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}
    return is_other_site or headers.get("origin", f"http://{host}") != f"http://{host}"


def _media_type(headers: Headers) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _problem(status: HTTPStatus, detail: str) -> Response:
    slug = status.phrase.lower().replace(" ", "-")
    document = {"type": f"urn:icm:problem:{slug}", "title": status.phrase, "status": status, "detail": detail}
    return Response(orjson.dumps(document), status, media_type=PROBLEM_JSON)
