"""Request bodies that are read whole, within bounds."""

from fastapi import Request

from service.errors import PayloadTooLarge


def media_type(request: Request) -> str:
    """What the request says its body is, without parameters and in lower case; empty where it says nothing."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_within(request: Request, max_bytes: int, refusal: str) -> bytes:
    """The whole body. Raises PayloadTooLarge with this refusal as soon as it is longer."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > max_bytes:
            raise PayloadTooLarge(refusal)
    return bytes(body)
