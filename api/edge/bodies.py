"""Read whole request bodies, within limits."""

from fastapi import Request

from service.errors import PayloadTooLarge


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
