"""Read whole request bodies, within limits."""

from typing import Any

from anyio import to_thread
from fastapi import Request

from service.errors import Fault, InvalidInput, PayloadTooLarge, UnsupportedFormat
from service.intake.text.strict_json import BadJson, parse


def media_type(request: Request) -> str:
    """The media type of the request's body, without parameters and in lower case; empty without one."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_within(request: Request, max_bytes: int, refusal: str) -> bytes:
    """Read the whole body. Raises PayloadTooLarge with this message as soon as the body exceeds the limit."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > max_bytes:
            raise PayloadTooLarge(refusal)
    return bytes(body)


async def read_json(request: Request, max_bytes: int) -> Any:
    """The JSON body of a request, read within bounds. Raises UnsupportedFormat, PayloadTooLarge and InvalidInput."""
    kind = media_type(request)
    if kind != "application/json":
        raise UnsupportedFormat(f"Content-Type {kind or '(none)'} is not read here; send application/json")
    raw = await read_within(request, max_bytes, f"the body may have {max_bytes} bytes")
    try:
        return await to_thread.run_sync(parse, raw)
    except BadJson as error:
        raise InvalidInput("the body cannot be read", [Fault(str(error), field="body")]) from error
