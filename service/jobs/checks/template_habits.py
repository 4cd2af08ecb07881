"""Warns about placeholders of other languages in a template, such as `${text}`, which reach prompts as they are."""

import re
from collections.abc import Collection, Iterator

from service.placeholders import template_parts

_SIGNS = {"$": "a shell or JavaScript", "#": "Ruby", "%": "Ruby or a shell", "@": "other languages"}
_FORMS = (  # the column's name is the group; braces are the service's own form, and doubled ones are Jinja's
    re.compile(r"\$([^\W\d]\w*)"),
    re.compile(r"%\(([^()]+)\)[sdrif]"),
    re.compile(r"<%=?\s*([^<>%]+?)\s*%>"),
    re.compile(r"<<?\s*([^<>/]+?)\s*>>?"),
    re.compile(r"\[\[?\s*([^\[\]]+?)\s*\]\]?"),
    re.compile(r"%([^\W\d]\w*)%"),
    re.compile(r"(?<!\w)[:@]([^\W\d]\w*)"),
    re.compile(r"\{\s*(?:\w+\.|\w+\[['\"])?([^{}|.\[\]'\"]+?)(?:['\"]\])?\s*(?:\|[^{}]*)?\}"),
)


def template_habits(template: str, columns: Collection[str]) -> Iterator[str]:
    """Warnings about the template, given the columns of the data set.

    They refuse nothing, since "Price: ${price}" and "<text>" around a text are legitimate.
    """
    yield from _signs_before_braces(template)
    read = {name for _, name in template_parts(template) if name is not None}
    literal = "".join(text + ("" if name is None else "\0") for text, name in template_parts(template))
    unread = {name.casefold(): name for name in columns if name not in read}
    warned = set[str]()
    for form in _FORMS:
        for found in form.finditer(literal):
            name = unread.get(found[1].casefold())
            if name is not None and name not in warned:
                warned.add(name)
                yield (
                    f"the template has {found[0]!r}, which reads no column, so that every prompt has these characters; "
                    f"to put the column {name!r} there, write {{{name}}}"
                )


def _signs_before_braces(template: str) -> Iterator[str]:
    warned = set[tuple[str, str]]()
    for text, name in template_parts(template):
        sign = text[-1:]
        if name is None or sign not in _SIGNS or (sign, name) in warned:
            continue
        warned.add((sign, name))
        yield (
            f"the template has {sign!r} before {{{name}}}, so that every prompt has it, too; if it stands there as in "
            f"{_SIGNS[sign]}, write {{{name}}} alone"
        )
