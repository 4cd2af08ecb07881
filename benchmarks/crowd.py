"""A crowd of clients in a separate process, which a server has to serve beside others.

    python -m benchmarks.crowd PORT --streams JOB JOB --stalled 200
    python -m benchmarks.crowd PORT --uploads 50
    python -m benchmarks.crowd PORT --downloads JOB --stalled 50

Prints "there" once all clients are connected, and "done" with the status of each upload. A stalled client sends a
request and reads nothing; the crowd leaves when standard input ends.
"""

import argparse
import asyncio
import json
import random
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import httpx

from benchmarks.ingest import CONFIG, encode, rows

_RECEIVE_BYTES = 4096  # of a stalled client's socket, so that the server soon notices
_SIZES = (*[200] * 20, *[2_000] * 20, *[10_000] * 10)  # rows of the uploads
_SLOW_SHARE = 0.2  # of the uploads: they arrive in pieces
_PIECES = 20
_PIECE_SECONDS = 0.5
_PATIENCE_SECONDS = 280.0
_BOUNDARY = "crowd"


async def stalled(port: int, path: str) -> socket.socket:
    """A client that requests something long and does not read it."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
    client.setblocking(False)  # noqa: FBT003 - as the library has it
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, ("127.0.0.1", port))
    await loop.sock_sendall(client, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
    return client


async def _stand_by(port: int, paths: Sequence[str], count: int) -> None:
    clients = [await stalled(port, paths[number % len(paths)]) for number in range(count)]
    _say("there")
    await asyncio.to_thread(sys.stdin.read)
    for client in clients:
        client.close()


async def _upload_all(port: int, count: int) -> None:
    chance = random.Random(0)
    forms = {size: _form(size) for size in set(_SIZES)}
    sizes = [_SIZES[number * len(_SIZES) // count] for number in range(count)]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=_PATIENCE_SECONDS) as client:
        _say("there")
        answers = await asyncio.gather(
            *(_upload(client, forms[size], is_slow=chance.random() < _SLOW_SHARE) for size in sizes)
        )
    _say("done " + json.dumps(Counter(map(str, answers))))


async def _upload(client: httpx.AsyncClient, form: bytes, *, is_slow: bool) -> int:
    headers = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}", "Content-Length": str(len(form))}
    answer = await client.post("/v1/jobs", content=_in_pieces(form, is_slow=is_slow), headers=headers)
    return answer.status_code


async def _in_pieces(form: bytes, *, is_slow: bool) -> AsyncIterator[bytes]:
    length = -(-len(form) // _PIECES)
    for start in range(0, len(form), length):
        if is_slow:
            await asyncio.sleep(_PIECE_SECONDS)
        yield form[start : start + length]


def _form(size: int) -> bytes:
    """A multipart form with a data set of `size` rows."""
    part = "--{boundary}\r\nContent-Disposition: form-data; name={name}\r\n\r\n"
    config = part.format(boundary=_BOUNDARY, name='"config"') + json.dumps(CONFIG) + "\r\n"
    dataset = part.format(boundary=_BOUNDARY, name='"dataset"; filename="rows.jsonl"')
    return f"{config}{dataset}".encode() + encode(rows(size), "jsonl") + f"\r\n--{_BOUNDARY}--\r\n".encode()


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Be the crowd."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int)
    parser.add_argument("--streams", nargs="*", default=[], metavar="JOB", help="whose events to follow")
    parser.add_argument("--downloads", nargs="*", default=[], metavar="JOB", help="whose results to download")
    parser.add_argument("--stalled", type=int, default=0, help="clients that do so and read nothing")
    parser.add_argument("--uploads", type=int, default=0, help="data sets to post at once")
    arguments = parser.parse_args()
    if arguments.uploads:
        asyncio.run(_upload_all(arguments.port, arguments.uploads))
        return
    paths = [f"/v1/jobs/{job}/events" for job in arguments.streams]
    paths += [f"/v1/jobs/{job}/result?partial=true" for job in arguments.downloads]
    asyncio.run(_stand_by(arguments.port, paths, arguments.stalled))


if __name__ == "__main__":
    main()
