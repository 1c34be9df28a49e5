"""Checks documents against the part of JSON Schema that jobset_schema.json is written in."""

import re
from collections.abc import Iterator
from typing import Any

_TYPES = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}
_KNOWN = {
    "$schema", "title", "description", "type", "enum", "properties", "additionalProperties",
    "required", "items", "minItems", "pattern", "minimum", "maximum",
}  # fmt: skip


def violations(value: Any, schema: dict[str, Any], place: str = "") -> Iterator[str]:
    """Says what is wrong with a document, each with its place.

    Raises:
        NotImplementedError: The schema has a keyword that is not known here.
    """
    if unknown := schema.keys() - _KNOWN:
        raise NotImplementedError(f"{place}: {sorted(unknown)}")
    kind = schema.get("type")
    if kind and (not isinstance(value, _TYPES[kind]) or (kind != "boolean" and value is True)):
        yield f"{place}: expected {kind}, got {value!r}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{place}: expected one of {schema['enum']}, got {value!r}"
    if "pattern" in schema and not re.search(schema["pattern"], value):
        yield f"{place}: expected {schema['pattern']}, got {value!r}"
    if (
        not schema.get("minimum", float("-inf"))
        <= (value if kind == "integer" else 0)
        <= schema.get("maximum", float("inf"))
    ):
        yield f"{place}: out of range, got {value!r}"
    if kind == "object":
        yield from _violations_of_fields(value, schema, place)
    if kind == "array":
        if len(value) < schema.get("minItems", 0):
            yield f"{place}: expected at least {schema['minItems']} items"
        for index, item in enumerate(value):
            yield from violations(item, schema["items"], f"{place}[{index}]")


def _violations_of_fields(value: dict, schema: dict[str, Any], place: str) -> Iterator[str]:
    fields = schema.get("properties", {})
    others = schema.get("additionalProperties", True)
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{place}: {name} is missing"
    for name, field in value.items():
        if name in fields:
            yield from violations(field, fields[name], f"{place}.{name}")
        elif others is False:
            yield f"{place}: unknown field {name}"
        elif others is not True:
            yield from violations(field, others, f"{place}.{name}")
