"""Read upload forms: few parts, short except for the file, with text in UTF-8."""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, closing
from http import HTTPStatus

from fastapi import Request
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser

from api.labelling.uploads import Spool
from service.errors import Fault, InvalidConfig, UnsupportedFormat
from service.intake.bounds.scratch import scratch_space

_MAX_PARTS = 2  # maximum of files, and of fields


@asynccontextmanager
async def read_form(request: Request, *, spool: Spool, max_field_bytes: int) -> AsyncIterator[FormData]:
    """Yield the form of this request; its files exist until the context ends.

    Raises UnsupportedFormat, InvalidConfig, SpoolFull, and HTTPException 400 if it is no form or too large.
    """
    _check_charset(request)
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > MultiPartParser.spool_max_size:  # else it stays in memory
        spool.check(int(declared))
    async with aclosing(request.stream()) as body, aclosing(spool.watched(body)) as stream:
        parser = _StrictParser(
            request.headers, stream, max_files=_MAX_PARTS, max_fields=_MAX_PARTS, max_part_size=max_field_bytes
        )
        with closing(parser):
            yield await _parsed(parser)


async def _parsed(parser: MultiPartParser) -> FormData:
    try:
        with scratch_space():
            return await parser.parse()
    except MultiPartException as error:
        raise HTTPException(HTTPStatus.BAD_REQUEST, error.message) from error


class _StrictParser(MultiPartParser):
    """A parser that refuses fields that are not UTF-8; Starlette's would silently read them as Latin-1."""

    def on_part_end(self) -> None:
        if self._current_part.file is None:
            _check_utf8(self._current_part.data, self._current_part.field_name)
        super().on_part_end()

    def close(self) -> None:
        """Close every file; an interrupted form leaves one that belongs to no complete part."""
        for file in self._files_to_close_on_error:
            file.close()


def _check_utf8(content: bytes | bytearray, field: str) -> None:
    try:
        content.decode()
    except UnicodeDecodeError as error:
        raise InvalidConfig("the form cannot be read", [Fault("not valid UTF-8", field=field)]) from error


def _check_charset(request: Request) -> None:
    """Refuse a charset other than UTF-8, so that senders cannot choose one of Python's decoders."""
    _, parameters = parse_options_header(request.headers["content-type"])
    if parameters.get(b"charset", b"utf-8").lower() != b"utf-8":
        raise UnsupportedFormat("the form's charset is not read here; send UTF-8")
