"""Why this exists: to say, without Terraform and without the provider, what in a configuration the
two would refuse.

Names, required arguments and blocks, how often a block may come, blocks written as arguments and
the other way round, and the types of values that are written out. Values that are computed are
Terraform's business: the plan's.
"""

from collections.abc import Iterator, Set
from difflib import get_close_matches
from typing import Any

from tests.terraform import schema as schemas
from tests.terraform.configuration import Block, literal
from tests.terraform.references import INDEX, Reference, in_block, in_expression
from tests.terraform.values import mismatch

META_ARGUMENTS = {"count", "for_each", "depends_on", "provider"}
LIFECYCLE = {"create_before_destroy", "prevent_destroy", "ignore_changes", "replace_triggered_by"}
# What each of the language's own blocks may hold: arguments, then blocks.
TOP = {
    "terraform": ({"required_version"}, {"required_providers", "backend"}),
    "variable": (
        {"type", "default", "description", "sensitive", "nullable", "ephemeral"},
        {"validation"},
    ),
    "output": ({"value", "description", "sensitive", "depends_on", "ephemeral"}, {"precondition"}),
    "check": (set(), {"assert", "data"}),
    "moved": ({"from", "to"}, set()),
    "removed": ({"from"}, {"lifecycle"}),
    "import": ({"id", "to", "for_each", "provider"}, set()),
}
CONDITION = {"condition", "error_message"}
# Terraform's own resource, which needs no provider.
BUILT_IN = {
    "terraform_data": {
        "attributes": {
            "id": {"type": "string", "computed": True},
            "input": {"type": "dynamic", "optional": True},
            "output": {"type": "dynamic", "computed": True},
            "triggers_replace": {"type": "dynamic", "optional": True},
        }
    }
}
PROVISIONER = {
    "command",
    "working_dir",
    "environment",
    "interpreter",
    "quiet",
    "when",
    "on_failure",
}
NAMED = {
    "each": {"key", "value"},
    "count": {"index"},
    "path": {"module", "root", "cwd"},
    "terraform": {"workspace", "applying"},
}


def problems(configuration: Block, schema: dict[str, Any]) -> list[str]:
    """Everything wrong, as sentences that begin with the line."""
    found: list[tuple[int, str]] = []
    for block in configuration.blocks:
        found += _top(block, schema)
    found += _references(configuration, schema)
    found += _unused(configuration)
    return [f"line {line}: {text}" for line, text in sorted(found)]


def data_sources(configuration: Block) -> list[Block]:
    """Those at the top, and those that a `check` has for itself."""
    checks = configuration.of_type("check")
    return [
        *configuration.of_type("data"),
        *(one for each in checks for one in each.of_type("data")),
    ]


Found = Iterator[tuple[int, str]]


def _top(block: Block, schema: dict[str, Any]) -> Found:
    if block.type in ("resource", "data"):
        known = schema["resources" if block.type == "resource" else "data_sources"]
        kinds = {**known, **(BUILT_IN if block.type == "resource" else {})}
        kind, name = block.labels
        if kind not in kinds:
            yield block.line, f"no {block.type} {kind} is known{_near(kind, kinds)}"
        else:
            prefix = "data." if block.type == "data" else ""
            yield from _body(block, kinds[kind], f"{prefix}{kind}.{name}", META_ARGUMENTS)
    elif block.type == "provider":
        if block.labels != ("google",):
            yield block.line, f"no provider {' '.join(block.labels)} is known"
        else:
            yield from _body(block, schema["provider"], "provider google", {"alias"})
    elif block.type in TOP:
        for inner in block.of_type("data"):
            yield from _top(inner, schema)
        arguments, blocks = TOP[block.type]
        where = " ".join((block.type, *block.labels))
        yield from _names(block, arguments, blocks, where)
        for inner in block.of_type("validation", "precondition", "assert"):
            yield from _names(inner, CONDITION, set(), f"{where}: {inner.type}", required=CONDITION)
    elif block.type != "locals":
        yield block.line, f"no block {block.type} is known{_near(block.type, {*TOP, 'locals'})}"


def _names(
    block: Block,
    arguments: Set[str],
    blocks: Set[str],
    where: str,
    required: Set[str] = frozenset(),
) -> Found:
    for argument in block.arguments.values():
        if argument.name not in arguments:
            near = _near(argument.name, arguments)
            yield argument.line, f"{where} has no argument {argument.name}{near}"
    for inner in block.blocks:
        if inner.type not in blocks:
            yield inner.line, f"{where} has no block {inner.type}{_near(inner.type, blocks)}"
    for name in sorted(required - set(block.arguments)):
        yield block.line, f"{where} needs {name}"


def _body(block: Block, wanted: dict[str, Any], where: str, meta: Set[str] = frozenset()) -> Found:
    attributes, nested = schemas.attributes(wanted), schemas.block_types(wanted)
    for argument in block.arguments.values():
        if argument.name in meta:
            continue
        if argument.name in nested:
            yield argument.line, f"{where}: {argument.name} is a block, not an argument"
        elif argument.name not in attributes:
            near = _near(argument.name, {*attributes, *nested, *meta})
            yield argument.line, f"{where} has no argument {argument.name}{near}"
        elif not {"required", "optional"} & set(attributes[argument.name]):
            yield argument.line, f"{where}: {argument.name} is the provider's to set"
        elif reason := mismatch(literal(argument.expression), attributes[argument.name]["type"]):
            yield argument.line, f"{where}: {argument.name}: {reason}"
    for name, one in attributes.items():
        if one.get("required") and name not in block.arguments:
            yield block.line, f"{where} needs {name}"
    yield from _blocks(block, attributes, nested, where, lifecycle=bool(meta))


def _blocks(
    block: Block, attributes: Any, nested: dict[str, Any], where: str, *, lifecycle: bool
) -> Found:
    seen: dict[str, list[bool]] = {}
    for inner in block.blocks:
        if inner.type == "lifecycle" and lifecycle:
            conditions = {"precondition", "postcondition"}
            yield from _names(inner, LIFECYCLE, conditions, f"{where}: lifecycle")
            continue
        if inner.type == "provisioner" and lifecycle:
            yield from _names(inner, PROVISIONER, set(), f"{where}: provisioner", {"command"})
            continue
        name, content = inner.type, inner
        if inner.type == "dynamic":
            name = inner.labels[0]
            held = {"for_each", "iterator", "labels"}
            yield from _names(
                inner, held, {"content"}, f"{where}: dynamic {name}", required={"for_each"}
            )
            content = next(inner.of_type("content"), inner)
        if name in attributes:
            yield inner.line, f"{where}: {name} is an argument, not a block"
        elif name not in nested:
            yield inner.line, f"{where} has no block {name}{_near(name, {*attributes, *nested})}"
        else:
            seen.setdefault(name, []).append(inner.type == "dynamic")
            yield from _body(content, nested[name]["block"], f"{where}: {name}")
    for name, one in nested.items():
        dynamic = seen.get(name, [])
        if not dynamic and one.get("min_items"):
            yield block.line, f"{where} needs a block {name}"
        most = 1 if one["nesting_mode"] == "single" else one.get("max_items")
        if most and dynamic.count(False) > most:
            yield block.line, f"{where} takes one block {name} only"


def _references(configuration: Block, schema: dict[str, Any]) -> Found:
    declared = _declared(configuration)
    for block in configuration.blocks:
        for reference in _in(block):
            if reason := _unresolved(reference, declared, schema):
                yield reference.line, f"{reference}: {reason}"


def _in(block: Block) -> Iterator[Reference]:
    """References within; a variable's type is none, nor is what `ignore_changes` lists, nor what
    was once.
    """
    skipped = {"provider"} if block.type in ("resource", "data") else set()
    if block.type == "variable":
        skipped = {"type"}
    if block.type in ("terraform", "moved", "removed"):
        return
    for name, argument in block.arguments.items():
        if name not in skipped:
            yield from in_expression(argument.expression)
    for inner in block.blocks:
        if inner.type == "lifecycle":
            for name, argument in inner.arguments.items():
                if name != "ignore_changes":
                    yield from in_expression(argument.expression)
            for condition in inner.blocks:
                yield from in_block(condition)
        elif inner.type == "provisioner":
            for name, argument in inner.arguments.items():
                if name not in ("when", "on_failure"):  # keywords
                    yield from in_expression(argument.expression)
        else:
            yield from in_block(Block("", (), inner.line, {}, [inner]))


def _declared(configuration: Block) -> dict[str, Any]:
    return {
        "var": {block.labels[0] for block in configuration.of_type("variable")},
        "local": {name for block in configuration.of_type("locals") for name in block.arguments},
        "resource": {block.labels: block for block in configuration.of_type("resource")},
        "data": {block.labels: block for block in data_sources(configuration)},
    }


def _unresolved(
    reference: Reference, declared: dict[str, Any], schema: dict[str, Any]
) -> str | None:
    root, steps = reference.root, reference.steps
    if root in ("var", "local"):
        name = steps[0] if steps else ""
        return None if name in declared[root] else f"not declared{_near(name, declared[root])}"
    if root in NAMED:
        return None if steps and steps[0] in NAMED[root] else "there is no such thing"
    if root == "self":
        return None
    kind = "resources"
    if root == "data":
        root, steps, kind = (steps or ("",))[0], steps[1:], "data_sources"
    known = declared["data" if kind == "data_sources" else "resource"]
    labels = (root, steps[0] if steps else "")
    if labels not in known:
        return f"not declared{_near('.'.join(labels), {'.'.join(one) for one in known})}"
    if root not in schema[kind]:
        return None
    repeated = {"count", "for_each"} & set(known[labels].arguments)
    rest = steps[1:]
    if repeated and rest and rest[0] != INDEX:
        return f"has {repeated.pop()}, so an index is needed"
    return _no_member(rest, schemas.implied_type(schema[kind][root]))


def _no_member(steps: tuple[str, ...], kind: Any) -> str | None:
    for step in steps:
        shape, of = kind if isinstance(kind, list) else (kind, None)
        if step == INDEX:
            kind = of if shape in ("list", "set", "map") else kind
        elif shape == "object":
            if step not in of:
                return f"no attribute {step}{_near(step, of)}"
            kind = of[step]
        elif shape == "map":
            kind = of
        else:
            return f"a {shape} has no attribute {step}"
    return None


def _unused(configuration: Block) -> Found:
    used = {
        (reference.root, reference.steps[0], block.labels if block.type == "variable" else None)
        for block in configuration.blocks
        for reference in _in(block)
        if reference.steps
    }
    for block in configuration.of_type("variable"):
        name = block.labels[0]
        if not any(one[:2] == ("var", name) and one[2] != (name,) for one in used):
            yield block.line, f"var.{name} is never used"
    for block in configuration.of_type("locals"):
        for argument in block.arguments.values():
            if not any(one[:2] == ("local", argument.name) for one in used):
                yield argument.line, f"local.{argument.name} is never used"


def _near(name: str, known: Any) -> str:
    close = get_close_matches(name, sorted(known), n=1)
    return f" (meant {close[0]}?)" if close else ""
