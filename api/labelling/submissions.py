"""Read the body of a submission: a multipart upload, or JSON with inline examples."""

import asyncio
from codecs import BOM_UTF8
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, Request
from starlette.datastructures import FormData, UploadFile

from api.dependencies import TheApplication, TheStore, of_app
from api.edge.bodies import media_type, read_within
from api.labelling.configuration import parse_config
from api.labelling.forms import read_form
from api.labelling.turns import Turns
from api.labelling.uploads import Spool
from service.config import JobConfig
from service.errors import Fault, InvalidConfig, InvalidDataset, PayloadTooLarge, RequestTooSlow, UnsupportedFormat
from service.intake.bounds.limits import Limits
from service.intake.formats import Upload
from service.intake.sources import FileSource, InlineSource
from service.intake.text.not_numbers import refuse_not_numbers
from service.intake.text.strict_json import BadJson, NotANumber, parse
from service.jobs.checks.rows import RowSource
from service.settings import ServerSettings

T = TypeVar("T")

MAX_INLINE_BYTES = 10_000_000  # the API holds a JSON body in memory; send longer data sets as files
MAX_INLINE_VALUES = 1_000_000  # an empty list takes two bytes in JSON and dozens in memory
_UNPACKING_AT_ONCE = 2
_LONGEST_WAIT_SECONDS = 120.0  # an upload waits no longer for its check; then the API answers 503
_MAX_CONFIG_BYTES = 1_000_000
_PARTS = ("dataset", "config")


@dataclass(frozen=True, slots=True)
class Submission:
    """A configuration and its data set."""

    config: JobConfig
    source: RowSource
    gone: asyncio.Event  # set once the client has left

    def check_wanted(self) -> None:
        """Raise RequestTooSlow if the client has left."""
        if self.gone.is_set():
            raise RequestTooSlow("the client left before the answer")

    async def while_wanted(self, work: Coroutine[Any, Any, T]) -> T:
        """Run the work, and cancel it if the client leaves. Raises RequestTooSlow then."""
        tasks = working, leaving = asyncio.ensure_future(work), asyncio.create_task(self.gone.wait())
        try:
            await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                self.check_wanted()
            return working.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


@dataclass(frozen=True, slots=True)
class Rooms:
    """Resources of the process that all submissions share."""

    turns: Turns
    spool: Spool
    unpacking: CapacityLimiter  # limits Parquet readers, each of which may take the memory that the limits allow


def rooms_of(server: ServerSettings) -> Rooms:
    """Build the resources by the operator's settings."""
    return Rooms(
        turns=Turns(server.uploads_at_once, _LONGEST_WAIT_SECONDS),
        spool=Spool(server.min_free_bytes),
        unpacking=CapacityLimiter(_UNPACKING_AT_ONCE),
    )


async def _read_submission(
    request: Request, application: TheApplication, store: TheStore, rooms: Annotated[Rooms, Depends(of_app("rooms"))]
) -> AsyncIterator[Submission]:
    """Yield the submission of this request at its turn; its file exists until the endpoint returns."""
    limits = Limits(**application.settings.upload.model_dump())
    project = store.caller.project
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedFormat("Content-Encoding is not read here; send a .gz file as it is")
    match media_type(request):
        case "application/json":
            body = await _body(request)
            async with _noticed_leaving(request) as gone, rooms.turns.turn(len(body), project, gone):
                submission, source = await _inline(body, limits, gone)
                async with _cancelled_when(gone, source):
                    yield submission
        case "multipart/form-data":
            async with (
                read_form(request, spool=rooms.spool, max_field_bytes=_MAX_CONFIG_BYTES) as form,
                _noticed_leaving(request) as gone,
                _uploaded(form, limits, rooms, project, gone) as submission,
            ):
                yield submission
        case other:
            expected = "multipart/form-data with the parts dataset and config, or application/json"
            raise UnsupportedFormat(f"Content-Type {other or '(none)'} is not read here; send {expected}")


# The turn and the file end with the endpoint, since a slow reader may take long for the answer.
TheSubmission = Annotated[Submission, Depends(_read_submission, scope="function")]


async def _body(request: Request) -> bytes:
    refusal = f"a JSON body may have {MAX_INLINE_BYTES} bytes; upload a file instead"
    body = await read_within(request, MAX_INLINE_BYTES, refusal)
    if body.count(b",") + body.count(b"[") + body.count(b"{") > MAX_INLINE_VALUES:
        raise PayloadTooLarge(f"a JSON body may hold {MAX_INLINE_VALUES} values; upload a file instead")
    return body


async def _inline(body: bytes, limits: Limits, gone: asyncio.Event) -> tuple[Submission, InlineSource]:
    try:
        content = await _json(body, "the body")
    except InvalidConfig as error:
        if isinstance(error.__cause__, NotANumber):
            await to_thread.run_sync(refuse_not_numbers, body)
        raise
    if not isinstance(content, dict):
        raise InvalidConfig("the body must be an object with `config` and `examples`")
    unknown = [Fault("there is no such field", field=name) for name in content.keys() - {"config", "examples"}]
    if unknown:
        raise InvalidConfig("the body must have `config` and `examples` and nothing else", unknown)
    examples = content.get("examples")
    if not isinstance(examples, list):
        fault = Fault("must be a list of objects", field="examples")
        raise InvalidDataset("the data set is missing", [fault])
    source = InlineSource(examples, limits)
    return Submission(_config(content), source, gone), source


@asynccontextmanager
async def _noticed_leaving(request: Request) -> AsyncIterator[asyncio.Event]:
    """Yield an event that is set once the client leaves, after the body has been read."""
    gone = asyncio.Event()

    async def notice() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone.set()

    async with _meanwhile(notice()):
        yield gone


@asynccontextmanager
async def _cancelled_when(gone: asyncio.Event, source: FileSource | InlineSource) -> AsyncIterator[None]:
    """Stop reading the source once the client leaves."""

    async def cancel() -> None:
        await gone.wait()
        source.cancel()

    async with _meanwhile(cancel()):
        yield


@asynccontextmanager
async def _meanwhile(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do the work as long as the context lasts."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


@asynccontextmanager
async def _uploaded(
    form: FormData, limits: Limits, rooms: Rooms, project: str, gone: asyncio.Event
) -> AsyncIterator[Submission]:
    _check_parts(form)
    dataset = form.get("dataset")
    if not isinstance(dataset, UploadFile):
        fault = Fault("a file part `dataset` is needed", field="dataset")
        raise InvalidDataset("the data set is missing", [fault])
    config = await _config_part(form.get("config"))
    upload = Upload(dataset.filename, dataset.content_type)
    with FileSource(dataset.file, upload, limits) as source:
        async with rooms.turns.turn(dataset.size or 0, project, gone), _cancelled_when(gone, source):
            await to_thread.run_sync(source.prepare, limiter=rooms.unpacking)
            yield Submission(config, source, gone)


def _check_parts(form: FormData) -> None:
    """Refuse unknown and duplicate parts, which the API would otherwise ignore silently."""
    names = [name for name, _ in form.multi_items()]
    faults = [Fault("there is no such part", field=name) for name in names if name not in _PARTS]
    faults += [Fault("occurs more than once", field=name) for name in _PARTS if names.count(name) > 1]
    if faults:
        raise InvalidConfig("the form must have `dataset` and `config`, once each, and nothing else", faults)


async def _config_part(raw: UploadFile | str | None) -> JobConfig:
    if isinstance(raw, UploadFile):
        if raw.size is not None and raw.size > _MAX_CONFIG_BYTES:
            raise PayloadTooLarge(
                f"the configuration has more than {_MAX_CONFIG_BYTES} bytes; if these are pairs of rows, put them "
                "into a column of the data set (relations of kind pairs, `column`)"
            )
        raw = (await raw.read()).decode("utf-8", errors="surrogateescape")
    if raw is None:
        return _config({})
    return _config(
        {"config": await _json(raw.encode("utf-8", errors="surrogateescape").removeprefix(BOM_UTF8), "config")}
    )


def _config(content: dict[str, Any]) -> JobConfig:
    if "config" not in content:
        raise InvalidConfig("the configuration is missing", [Fault("a part `config` is needed", field="config")])
    return parse_config(content["config"])


async def _json(raw: bytes, what: str) -> Any:
    try:
        return await to_thread.run_sync(parse, raw)
    except BadJson as error:
        raise InvalidConfig(f"{what} cannot be read", [Fault(str(error), field=what.removeprefix("the "))]) from error
