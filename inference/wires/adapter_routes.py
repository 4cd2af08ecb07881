"""vLLM's calls to load and unload LoRA adapters at run time, if the operator allows them."""

from typing import Annotated

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field

from inference.errors import AdapterNotFound, AdapterRefused, ClientGone, InvalidRequest, RequestError
from inference.serving import Serving
from inference.wires.bodies import read_body
from inference.wires.openai import error_reply
from inference.wires.replies import json_reply

_Text = Annotated[str, Field(min_length=1)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)  # as with the other bodies of vLLM


class LoadBody(_Body):
    """The body of `POST /v1/load_lora_adapter`."""

    lora_name: _Text
    lora_path: _Text
    load_inplace: bool = False


class UnloadBody(_Body):
    """The body of `POST /v1/unload_lora_adapter`."""

    lora_name: _Text


class AdapterRoutes:
    """The handlers behind vLLM's paths for adapters."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    async def load(self, request: Request) -> Response:
        """`POST /v1/load_lora_adapter`; succeeds also if the name already has the same content."""
        try:
            body = read_body(LoadBody, await self._serving.body(request))
            if body.load_inplace:
                raise InvalidRequest(
                    "`load_inplace` is not supported by this server: a name stands for one content while it is loaded",
                    "load_inplace",
                )
            await self._serving.adapters.load(body.lora_name, body.lora_path)
        except RequestError as error:
            return _refusal(error)
        return PlainTextResponse(f"Success: LoRA adapter '{body.lora_name}' added successfully.")

    async def unload(self, request: Request) -> Response:
        """`POST /v1/unload_lora_adapter`; running requests finish with their adapter."""
        try:
            body = read_body(UnloadBody, await self._serving.body(request))
            self._serving.adapters.unload(body.lora_name)
        except RequestError as error:
            return _refusal(error)
        return PlainTextResponse(f"Success: LoRA adapter '{body.lora_name}' removed successfully.")


def adapter_router(routes: AdapterRoutes) -> APIRouter:
    """Routes with vLLM's paths; without the operator's permission they answer 404, as vLLM does without them."""
    router = APIRouter()
    router.add_api_route("/v1/load_lora_adapter", routes.load, methods=["POST"])
    router.add_api_route("/v1/unload_lora_adapter", routes.unload, methods=["POST"])
    return router


def _refusal(error: RequestError) -> Response:
    match error:
        case InvalidRequest():
            return json_reply(error_reply(str(error), "BadRequestError", 400, error.parameter), 400)
        case AdapterRefused():
            return json_reply(error_reply(str(error), "InvalidUserInput", 400), 400)
        case AdapterNotFound():
            return json_reply(error_reply(str(error), "NotFoundError", 404), 404)
        case ClientGone():
            return Response(status_code=499)
        case _:
            raise error
