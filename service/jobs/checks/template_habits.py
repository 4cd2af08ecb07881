"""Warns about placeholders of other languages in a template, such as `${text}`, which reach prompts as they are."""

import re
from collections.abc import Collection, Iterator, Sequence

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

_VALUE = "\0"  # stands for a column's value in the literal text of a template
_BRACED = re.compile(r"\{\s*\0\s*\}")


def template_habits(template: str, columns: Collection[str]) -> Iterator[str]:
    """Warnings about the template, given the columns of the data set.

    They refuse nothing, since "Price: ${price}" and "<text>" around a text are legitimate.
    """
    yield from _signs_before_braces(template)
    names = [name for _, name in template_parts(template) if name is not None]
    read = set(names)
    literal = "".join(text + ("" if name is None else _VALUE) for text, name in template_parts(template))
    yield from _braces_around(literal, names)
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


def _braces_around(literal: str, names: Sequence[str]) -> Iterator[str]:
    """Warnings about values between braces, as in `{{{text}}}`; `names` are those of the values in `literal`."""
    for name in dict.fromkeys(names[literal.count(_VALUE, 0, found.end()) - 1] for found in _BRACED.finditer(literal)):
        yield (
            f"the template puts {{{name}}} between doubled braces, so that every prompt has a brace on both sides of "
            f"the value; if they stand there as in Handlebars or Mustache, write {{{name}}} alone"
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
