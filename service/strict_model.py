"""What all parts of a configuration have in common."""

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


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
