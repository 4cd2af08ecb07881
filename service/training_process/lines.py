"""Reads a process's output line by line, and skips lines over a maximum length."""

import asyncio
from collections.abc import AsyncIterator

_CHUNK_BYTES = 65_536


async def lines_of(stream: asyncio.StreamReader, longest_bytes: int) -> AsyncIterator[bytes | None]:
    """Every line without its line break; None for a line that is too long."""
    kept, too_long = b"", False
    while chunk := await stream.read(_CHUNK_BYTES):
        *whole, rest = chunk.split(b"\n")
        for part in whole:
            line = kept + part
            yield None if too_long or len(line) > longest_bytes else line
            kept, too_long = b"", False
        kept += rest
        if len(kept) > longest_bytes:
            kept, too_long = b"", True
    if kept or too_long:
        yield None if too_long else kept
