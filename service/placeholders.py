"""The grammar of templates: text, `{column}` for a value, and doubled braces for braces."""

import re
from collections.abc import Iterator

_SIGN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


def template_parts(template: str) -> Iterator[tuple[str, str | None]]:
    """Literal text and the name of the column behind it, in order; None where none is behind it.

    A name stands as it is, colons and exclamation marks too: there are no expressions, formats or conversions,
    since templates come from strangers. Raises ValueError for a brace alone, and for braces without a name.
    """
    at = 0
    for sign in _SIGN.finditer(template):
        before, name = template[at : sign.start()], sign[1]
        at = sign.end()
        if name is not None:
            if not name.strip():
                raise ValueError("template: there is no column's name between { and }; double a brace to write one")
            yield before, name
        elif sign[0] in ("{{", "}}"):
            yield before + sign[0][0], None
        else:
            raise ValueError(
                f"template: the {sign[0]} at character {sign.start() + 1} stands alone; "
                f"write {{column}} for a value, or {sign[0] * 2} for the brace itself (a column whose name has braces "
                "cannot be named: rename it)"
            )
    yield template[at:], None


def template_fields(template: str) -> tuple[str, ...]:
    """The columns that a template names, in order, each once. Raises ValueError as `template_parts` does."""
    return tuple(dict.fromkeys(name for _, name in template_parts(template) if name is not None))
