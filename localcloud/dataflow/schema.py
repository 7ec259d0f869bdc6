"""Validates requests against the API's own description, as Google's JSON parser does.

The description is the discovery document that comes with Google's client.
"""

import functools
import importlib.resources
import json
import re
from typing import Any

from localcloud.rest import ApiError

_CAMEL = re.compile(r"_([a-z0-9])")
_SNAKE = re.compile(r"([A-Z])")
_KINDS = {
    "string": ("TYPE_STRING", (str,)),
    "boolean": ("TYPE_BOOL", (bool,)),
    "integer": ("TYPE_INT32", (int,)),
    "number": ("TYPE_DOUBLE", (int, float)),
}


@functools.cache
def _schemas() -> dict[str, Any]:
    documents = importlib.resources.files("googleapiclient.discovery_cache") / "documents"
    text = (documents / "dataflow.v1b3.json").read_text(encoding="utf-8")
    schemas: dict[str, Any] = json.loads(text)["schemas"]
    return schemas


def checked(schema: str, body: dict[str, Any]) -> dict[str, Any]:
    """Return `body` with field names and enums in the documentation's spelling.

    Like the service, it accepts field names in camelCase and snake_case, and enums by number.

    Args:
        schema: the name of the message type, such as `Job`.
        body: the request's JSON.

    Raises:
        ApiError: 400, listing every unknown name and every value of a wrong type.
    """
    problems: list[tuple[str, str]] = []
    result = _object(schema, body, "", problems)
    if problems:
        raise ApiError(
            400,
            "\n".join(text for _, text in problems),
            details=[
                {
                    "@type": "type.googleapis.com/google.rpc.BadRequest",
                    "fieldViolations": [
                        {"field": field, "description": text} for field, text in problems
                    ],
                }
            ],
        )
    return result


def _object(schema: str, body: Any, at: str, problems: list[tuple[str, str]]) -> dict[str, Any]:
    if not isinstance(body, dict):
        problems.append((at, f"Invalid value at '{at}' (type.googleapis.com/{schema}), {body!r}"))
        return {}
    properties = _schemas()[schema].get("properties", {})
    result = {}
    for field, value in body.items():
        name = field if field in properties else _CAMEL.sub(lambda m: m[1].upper(), field)
        if name not in properties:
            where = f" at '{at}'" if at else ""
            problems.append(
                (
                    at,
                    f'Invalid JSON payload received. Unknown name "{field}"{where}: '
                    "Cannot find field.",
                )
            )
            continue
        if value is not None:  # null means absent
            path = f"{at}.{_snake(name)}" if at else _snake(name)
            result[name] = _value(properties[name], value, path, problems)
    return result


def _value(spec: dict[str, Any], value: Any, at: str, problems: list[tuple[str, str]]) -> Any:
    if "$ref" in spec:
        return _object(spec["$ref"], value, at, problems)
    kind = spec.get("type")
    if kind == "array" and isinstance(value, list):
        return [
            _value(spec["items"], item, f"{at}[{index}]", problems)
            for index, item in enumerate(value)
        ]
    if kind == "object" and isinstance(value, dict):
        inner = spec.get("additionalProperties", {})
        return {key: _value(inner, item, f"{at}[{key}]", problems) for key, item in value.items()}
    if kind == "any" or kind is None:
        return value
    if "enum" in spec:
        return _enum(spec["enum"], value, at, problems)
    name, types = _KINDS.get(kind, (kind, ()))
    if spec.get("format") in ("int32", "int64", "uint32", "uint64") and isinstance(value, str):
        # JSON numbers have 53 bits only, so Google also accepts integers as strings.
        if re.fullmatch(r"-?\d+", value):
            return int(value) if kind == "integer" else value
    elif isinstance(value, types) and not (isinstance(value, bool) and kind != "boolean"):
        return value
    elif spec.get("format") == "int64" and isinstance(value, int):
        return str(value)
    problems.append((at, f"Invalid value at '{at}' ({name}), {json.dumps(value)}"))
    return None


def _enum(names: list[str], value: Any, at: str, problems: list[tuple[str, str]]) -> Any:
    if isinstance(value, str) and value in names:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(names):
        return names[value]
    problems.append((at, f"Invalid value at '{at}' (TYPE_ENUM), {json.dumps(value)}"))
    return None


def _snake(name: str) -> str:
    return _SNAKE.sub(lambda m: "_" + m[1].lower(), name)
