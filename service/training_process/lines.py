"""Reads what a process writes, line by line, none of them longer than a bound."""

import asyncio
from collections.abc import AsyncIterator

_CHUNK_BYTES = 65_536


async def lines_of(stream: asyncio.StreamReader, longest_bytes: int) -> AsyncIterator[bytes | None]:
    """Every line without its end, which the last one may lack; None for one that is longer and is passed over."""
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
