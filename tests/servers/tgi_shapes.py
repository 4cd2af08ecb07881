"""The JSON of text-generation-inference as types of our own, written from its OpenAPI document (3.3.6-dev0).

`strict` models forbid what the document does not name. The document marks fields as nullable or
required; where a server leaves out what is required, or names what is unknown, validation says so.
`python -m tests.servers.compare_openapi FILE` compares every field with a copy of the document.
"""

from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

Int32 = Annotated[int, Field(ge=-(2**31), lt=2**31)]
Unsigned = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, le=1)]


class Shape(BaseModel):
    """The document's schema of the same name."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class JsonGrammar(Shape):
    """A form of GrammarType."""

    type: Literal["json"]
    value: Any


class RegexGrammar(Shape):
    """A form of GrammarType."""

    type: Literal["regex"]
    value: str


class JsonSchemaConfig(Shape):
    """The content of a grammar of the form `json_schema`."""

    name: str | None = None
    schema_: Any = Field(alias="schema")


class JsonSchemaGrammar(Shape):
    """A form of GrammarType."""

    type: Literal["json_schema"]
    value: JsonSchemaConfig


Grammar = Annotated[JsonGrammar | RegexGrammar | JsonSchemaGrammar, Field(discriminator="type")]


class GenerateParameters(Shape):
    """The parameters of a request. The server ignores unknown fields, so they are an error of the client."""

    adapter_id: str | None = None
    best_of: Positive | None = None
    decoder_input_details: bool = False
    details: bool = True
    do_sample: bool = False
    frequency_penalty: Annotated[float, Field(gt=-2)] | None = None
    grammar: Grammar | None = None
    max_new_tokens: Unsigned | None = 1024
    repetition_penalty: PositiveFloat | None = None
    return_full_text: bool | None = None
    seed: Positive | None = None
    stop: Annotated[list[str], Field(max_length=4)] = []
    temperature: PositiveFloat | None = None
    top_k: Positive | None = None
    top_n_tokens: Positive | None = None
    top_p: Share | None = None
    truncate: Unsigned | None = None
    typical_p: Share | None = None
    watermark: bool = False


class GenerateRequest(Shape):
    """The body of `POST /generate` and of `POST /tokenize`."""

    inputs: str
    parameters: GenerateParameters | None = None


class CompatGenerateRequest(GenerateRequest):
    """The body of `POST /`."""

    stream: bool = False


class FinishReason(StrEnum):
    """The reason for the end of a generation."""

    LENGTH = "length"
    EOS_TOKEN = "eos_token"
    STOP_SEQUENCE = "stop_sequence"


class Token(Shape):
    """A generated token, or an alternative to one."""

    id: Unsigned
    logprob: float | None
    special: bool
    text: str


class PrefillToken(Shape):
    """A token of the prompt."""

    id: Unsigned
    logprob: float | None
    text: str


class BestOfSequence(Shape):
    """A generation beside the best one."""

    finish_reason: FinishReason
    generated_text: str
    generated_tokens: Unsigned
    prefill: list[PrefillToken]
    seed: Unsigned | None = None
    tokens: list[Token]
    top_tokens: list[list[Token]] = []


class Details(Shape):
    """The details of a generation."""

    best_of_sequences: list[BestOfSequence] | None = None
    finish_reason: FinishReason
    generated_tokens: Unsigned
    prefill: list[PrefillToken]
    seed: Unsigned | None = None
    tokens: list[Token]
    top_tokens: list[list[Token]] = []


class GenerateResponse(Shape):
    """The answer of `POST /generate`."""

    details: Details | None = None
    generated_text: str


class Info(Shape):
    """The answer of `GET /info`."""

    docker_label: str | None = None
    max_best_of: Unsigned
    max_client_batch_size: Unsigned
    max_concurrent_requests: Unsigned
    max_input_tokens: Unsigned
    max_stop_sequences: Unsigned
    max_total_tokens: Unsigned
    model_id: str
    model_pipeline_tag: str | None = None
    model_sha: str | None = None
    router: str
    sha: str | None = None
    validation_workers: Unsigned
    version: str


class SimpleToken(Shape):
    """A token of `POST /tokenize`."""

    id: Unsigned
    start: Unsigned
    stop: Unsigned
    text: str


class TokenizeResponse(RootModel[list[SimpleToken]]):
    """The answer of `POST /tokenize`."""


class ErrorResponse(Shape):
    """The answer of a failed call."""

    error: str
    error_type: str


class Responses:
    """The shapes of answers by call and status."""

    ERRORS: ClassVar = {424: ErrorResponse, 429: ErrorResponse, 500: ErrorResponse, 422: ErrorResponse}
    BY_CALL: ClassVar[dict[tuple[str, str], dict[int, type[BaseModel]]]] = {
        ("POST", "/generate"): {200: GenerateResponse, **ERRORS},
        ("POST", "/"): {200: RootModel[list[GenerateResponse]], **ERRORS},
        ("POST", "/tokenize"): {200: TokenizeResponse, 404: ErrorResponse},
        ("GET", "/info"): {200: Info},
        ("GET", "/health"): {503: ErrorResponse},
    }
    REQUESTS: ClassVar[dict[tuple[str, str], type[BaseModel]]] = {
        ("POST", "/generate"): GenerateRequest,
        ("POST", "/"): CompatGenerateRequest,
        ("POST", "/tokenize"): GenerateRequest,
    }
