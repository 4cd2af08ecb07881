"""Compares the types of `tgi_shapes.py` with text-generation-inference's OpenAPI document, field by field.

    python -m tests.servers.compare_openapi FILE

Prints every difference and what was compared; ends with status 1 where there is a difference.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from tests.servers import tgi_shapes
from tests.servers.tgi_shapes import Responses, Shape

Schema = Mapping[str, Any]

_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "maxItems", "enum")
_GRAMMARS = ("JsonGrammar", "RegexGrammar", "JsonSchemaGrammar")  # forms of GrammarType, which have no names there


class Comparison:
    """The differences between the document's schemas and ours."""

    def __init__(self, document: Schema) -> None:
        self._theirs: Schema = document["components"]["schemas"]
        self._paths: Schema = document["paths"]
        self.compared: list[str] = []

    def differences(self) -> Iterator[str]:
        """Every difference as a line."""
        for shape in _shapes():
            name = shape.__name__
            if name not in _GRAMMARS:
                self.compared.append(name)
                yield from self._object(name, self._theirs[name], shape)
        forms = self._theirs["GrammarType"]["oneOf"]
        for name, form in zip(_GRAMMARS, forms, strict=True):
            self.compared.append(f"GrammarType as {name}")
            yield from self._object(name, form, getattr(tgi_shapes, name))
        yield from self._calls()

    def _object(self, name: str, theirs: Schema, shape: type[BaseModel]) -> Iterator[str]:
        ours = shape.model_json_schema(by_alias=True)
        definitions = ours.get("$defs", {})
        mine, other = set(ours["properties"]), set(theirs["properties"])
        yield from (f"{name}.{field}: not in the document" for field in sorted(mine - other))
        yield from (f"{name}.{field}: missing here" for field in sorted(other - mine))
        required, wanted = set(ours.get("required", ())), set(theirs.get("required", ()))
        yield from (f"{name}.{field}: required on one side only" for field in sorted(required ^ wanted))
        for field in sorted(mine & other):
            left = _normal(theirs["properties"][field], self._theirs)
            right = _normal(ours["properties"][field], definitions)
            if not _agree(left, right):
                yield f"{name}.{field}: the document has {json.dumps(left)}, here is {json.dumps(right)}"

    def _calls(self) -> Iterator[str]:
        """Compare the bodies of calls, and the answers by status."""
        for (method, path), shape in Responses.REQUESTS.items():
            self.compared.append(f"{method} {path}")
            theirs = _content(self._paths[path][method.lower()]["requestBody"])
            if theirs != {"$ref": f"#/components/schemas/{shape.__name__}"}:
                yield f"{method} {path}: takes {json.dumps(theirs)}"
        for (method, path), by_status in Responses.BY_CALL.items():
            self.compared.append(f"answers of {method} {path}")
            answers = self._paths[path][method.lower()]["responses"]
            documented = {int(status): _content(answer) for status, answer in answers.items() if "content" in answer}
            if set(documented) != set(by_status):
                yield f"{method} {path}: answers {sorted(documented)} in the document, {sorted(by_status)} here"
            for status in sorted(set(documented) & set(by_status)):
                left = _normal(documented[status], self._theirs)
                ours = by_status[status].model_json_schema()
                if not _agree(left, _normal(ours, ours.get("$defs", {}))):
                    yield f"{method} {path} {status}: the document has {json.dumps(left)}"


def _content(part: Schema) -> Any:
    return next(iter(part["content"].values()))["schema"]


def _normal(schema: Schema, definitions: Schema) -> Any:
    """A field's schema as plain values: type, nullable, bounds, items of lists, fields of objects."""
    if "$ref" in schema:
        return _normal(definitions[schema["$ref"].rsplit("/", 1)[-1]], definitions)
    if len(schema.get("allOf", ())) == 1:
        return {**_normal(schema["allOf"][0], definitions), **_nullable(schema.get("nullable", False))}
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    if options:
        inner = _normal(options[0], definitions) if len(options) == 1 else {"type": "object"}
        return {**inner, **_nullable({"type": "null"} in schema["anyOf"])}
    if "oneOf" in schema:
        return {"type": "object"}  # the forms of a grammar, compared one by one
    found = {key: schema[key] for key in ("type", *_BOUNDS) if key in schema} | _nullable(schema.get("nullable", False))
    if "const" in schema:
        found["enum"] = [schema["const"]]
    if "items" in schema:
        found["items"] = _normal(schema["items"], definitions)
    if "properties" in schema:
        found["properties"] = sorted(schema["properties"])
    return found


def _nullable(value: bool) -> dict[str, bool]:
    return {"nullable": True} if value else {}


def _agree(theirs: Any, ours: Any) -> bool:
    """Whether two schemas agree, apart from two ways of the document to say the same.

    It gives positive numbers both a minimum of 0 and an exclusive one. A field that may be left
    out need not be null, and may here be, since both mean that there is none.
    """
    if isinstance(theirs, dict) and isinstance(ours, dict):
        left, right = dict(theirs), dict(ours)
        if "exclusiveMinimum" in left:
            left.pop("minimum", None)
        left.pop("nullable", None), right.pop("nullable", None)
        if left.get("type") == right.get("type") == "object":
            return bool(left.get("properties") == right.get("properties"))
        inner = _agree(left.pop("items", None), right.pop("items", None))
        return inner and left == right and theirs.get("nullable", False) == ours.get("nullable", False)
    return bool(theirs == ours)


def _shapes() -> list[type[Shape]]:
    found = [value for value in vars(tgi_shapes).values() if isinstance(value, type) and issubclass(value, Shape)]
    return [shape for shape in found if shape is not Shape]


def main(arguments: list[str]) -> int:
    """Compare with the document in this file; returns the exit status."""
    comparison = Comparison(json.loads(Path(arguments[0]).read_text()))
    differences = list(comparison.differences())
    for line in differences:
        print(line)  # noqa: T201 - what the tool is for
    print(f"{len(comparison.compared)} compared, {len(differences)} differences: {', '.join(comparison.compared)}")  # noqa: T201 - as above
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
