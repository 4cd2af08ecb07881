"""The operator's settings for a scoring backend of any kind; each kind adds its own settings and its wire."""

from abc import ABC, abstractmethod
from typing import Annotated, Any, ClassVar, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, field_validator, model_validator

from service.scoring.wires.http import Connection
from service.scoring.wires.kind import Kind
from service.scoring.wires.wire import Wire
from service.values import port_fault

# A compose file passes an unset variable on as an empty text.
_EMPTY_IS_NONE = BeforeValidator(lambda value: None if value == "" else value)
OptionalText = Annotated[str | None, _EMPTY_IS_NONE]
AdapterFolderAtServer = Annotated[
    OptionalText, Field(description="the folder of trained adapters as the server sees it; else as the service does")
]
ServedModel = Annotated[OptionalText, Field(description="the served model's name; else the first one listed")]


class BackendSettings(BaseModel):
    """A scoring backend the operator offers by name; users never write URLs."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    of_kind: ClassVar[Kind]

    name: str = "default"
    url: str = "http://127.0.0.1:8080"
    replicas: tuple[str, ...] = Field((), description="URLs of further servers with the same model, kind and flags")
    api_key: Annotated[SecretStr | None, _EMPTY_IS_NONE] = Field(None, description="sent as a bearer token")
    concurrency: int = Field(
        64, ge=1, description="requests in flight at once to a server, at most; with kind embedded each is a tree"
    )
    timeout_seconds: float = Field(120.0, gt=0, allow_inf_nan=False, description="the longest wait for an answer")
    patience_seconds: float = Field(
        60.0, ge=0, allow_inf_nan=False, description="an outage longer than this pauses the job"
    )

    @property
    def bearer_token(self) -> str | None:
        """The API key in clear, to send as a bearer token."""
        return None if self.api_key is None else self.api_key.get_secret_value()

    @property
    def connection(self) -> Connection:
        """The arguments with which a wire connects to one of the backend's servers, besides the address."""
        return {
            "timeout_seconds": self.timeout_seconds,
            "connections": self.concurrency,
            "api_key": self.bearer_token,
        }

    @field_validator("url", "replicas")
    @classmethod
    def _are_addresses(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for url in (value,) if isinstance(value, str) else value:
            if (fault := port_fault(url)) is not None:
                raise ValueError(fault)
            if not _is_web_address(url):
                raise ValueError("must begin with http:// or https:// and a host, such as http://gpu:8000")
            if not _is_a_root(url):
                raise ValueError("must be the server's root alone, without blanks, `?` and `#`")
        return value

    @field_validator("name")
    @classmethod
    def _says_something(cls, value: str) -> str:
        if value != value.strip() or not value or not value.isprintable():
            raise ValueError("must be a text that configurations can give as `model`, without blanks at its ends")
        if value.startswith("train_"):
            raise ValueError("must not begin with `train_`, as the ids of trainings do, which are models, too")
        return value

    @field_validator("concurrency", "timeout_seconds", "patience_seconds", mode="before")
    @classmethod
    def _is_a_number(cls, value: Any) -> Any:
        if isinstance(value, bool):  # which pydantic takes for 0 and 1
            raise ValueError("must be a number")  # noqa: TRY004 - pydantic reports this kind alone
        return value

    @model_validator(mode="after")
    def _replicas_are_others(self) -> Self:
        urls = [url.rstrip("/") for url in (self.url, *self.replicas)]
        if len(set(urls)) < len(urls):
            raise ValueError("`replicas` names a server twice, or the one of `url`; name each server once")
        return self

    @field_validator("api_key")
    @classmethod
    def _fits_a_header(cls, value: SecretStr | None) -> SecretStr | None:
        key = "" if value is None else value.get_secret_value().strip()
        if not (key.isascii() and key.isprintable()):
            raise ValueError("has characters that an HTTP header cannot hold")
        return value


class WireBackend(BackendSettings, ABC):
    """The settings of a backend that is reached through a wire."""

    @abstractmethod
    def wire(self, url: str) -> Wire:
        """The wire to one of the backend's servers; it connects at its first use."""


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        return False


def _is_a_root(url: str) -> bool:
    """Whether paths can be put behind it."""
    return not any(character.isspace() or character in "?#" for character in url)
