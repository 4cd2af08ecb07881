"""Reports NaN and Infinity in the rows of a JSON body, which a strict parser reads up to the first of them."""

import json
import math
from typing import Any

from service.jobs.checks.rows import FaultLog


def refuse_not_numbers(raw: bytes) -> None:
    """Raise InvalidDataset with every row of `examples` that has NaN or Infinity, by field; else do nothing."""
    faults = FaultLog()
    try:
        content = json.loads(raw)
        examples = content.get("examples") if isinstance(content, dict) else None
        _report(examples if isinstance(examples, list) else [], faults)
    except (ValueError, RecursionError):
        return  # something else is wrong, too
    faults.raise_any()


def _report(examples: list[Any], faults: FaultLog) -> None:
    for number, example in enumerate(examples, 1):
        for name, value in example.items() if isinstance(example, dict) else ():
            if (found := _not_a_number(value)) is not None:
                faults.add(f"is {found}; NaN and Infinity are not JSON; write null or text", line=number, field=name)


def _not_a_number(value: Any) -> str | None:
    """The first NaN or Infinity in a value, as JavaScript writes it."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((found for part in inner if (found := _not_a_number(part)) is not None), None)
