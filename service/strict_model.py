"""The base class and the number types of all parts of a configuration, as users write it."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

# JSON's own types and no others: neither text nor truth counts as a number, nor a number as truth.
Whole = Annotated[int, Field(strict=True)]
Number = Annotated[float, Field(strict=True)]
Truth = Annotated[bool, Field(strict=True)]
Share = Annotated[float, Field(strict=True, ge=0, le=1)]


class StrictModel(BaseModel):
    """A part of a configuration: it refuses fields that it does not know, and never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _numbers_are_of_one_kind(cls, values: Any) -> Any:
        """In JSON 8.0 is as whole as 8."""
        if not isinstance(values, dict):
            return values
        return {name: int(v) if isinstance(v, float) and v.is_integer() else v for name, v in values.items()}
