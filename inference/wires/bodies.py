"""Parse request bodies, for every wire."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from inference.errors import InvalidRequest

Body = TypeVar("Body", bound=BaseModel)


def read_body(kind: type[Body], body: bytes) -> Body:
    """Parse a body. Raises InvalidRequest, which names the first fault."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InvalidRequest(f"{place}: {first['msg']}" if place else first["msg"], place or None) from error
