"""Words the faults of settings plainly, each under the name of its environment variable, and checks ports."""

from collections.abc import Callable

from pydantic import SecretStr
from pydantic_core import ErrorDetails

from service.errors import Fault
from service.scoring.kinds import KINDS, OPTIONS
from service.values import nearest, port_fault

NAMES_OF_KINDS = f"{', '.join(map(repr, list(KINDS)[:-1]))} or {list(KINDS)[-1]!r}"

# pydantic's kinds of errors, in words for operators.
_PLAIN_WORDS = {
    "missing": "is missing",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "tuple_type": "must be a list",
    "dict_type": 'must be an object, such as {"default": "..."}',
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "union_tag_invalid": f"must be {NAMES_OF_KINDS}",
}


def fault_of(error: ErrorDetails, no_such_setting: Callable[[str], str]) -> Fault:
    """The fault of one of pydantic's errors, under the variable's name, such as ICM_QUEUE__LEASE_SECONDS.

    `no_such_setting` gives the message for a variable that no setting has the name of.
    """
    first, *inner = error["loc"] or ("",)
    if first == "backends":  # behind a backend's number pydantic names its kind
        inner[1:2] = ["kind"] if error["type"] == "union_tag_invalid" else []
    name = "ICM_" + str(first).upper().removeprefix("ICM_")
    for part in inner:
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if "[" in name else f"__{part.upper()}"
    if error["type"] == "extra_forbidden":
        return Fault(_no_such_option(str(inner[-1])) if "[" in name else no_such_setting(name), field=name)
    plain = error["msg"].removeprefix("Value error, ").replace("Input should be ", "must be ")
    return Fault(_PLAIN_WORDS.get(error["type"], plain), field=name)


def _no_such_option(name: str) -> str:
    near = nearest(name, OPTIONS)
    return f"there is no such setting; did you mean {near[0]}?" if near else "there is no such setting"


def with_port(url: str) -> str:
    """The URL, which has no port or a possible one. Raises ValueError."""
    if (fault := port_fault(url)) is not None:
        raise ValueError(fault)
    return url


def database_with_port(url: SecretStr) -> SecretStr:
    """The same of a database, whose password may have any characters and must not show. Raises ValueError."""
    text = url.get_secret_value()
    host = text.rpartition("@" if "@" in text else "://")[2]
    with_port(f"://{host}")
    return url
