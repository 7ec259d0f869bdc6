"""Why this exists: a Terraform file as blocks and arguments, each with its line, before anything is
evaluated.

It knows the language's grammar (through python-hcl2's parser) and nothing of any provider. Not
evaluated: `literal` gives what is written out, and `UNKNOWN` for the rest.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import hcl2
from lark import Token, Tree
from lark.exceptions import UnexpectedInput

Node = Tree[Token]
UNKNOWN = object()


class SyntaxProblemError(Exception):
    """The text is not HCL, or says something twice."""


@dataclass(frozen=True)
class Argument:
    """`name = expression`."""

    name: str
    expression: Node
    line: int


@dataclass
class Block:
    """`type "label" "label" { … }`; the file itself is a block without type and labels."""

    type: str
    labels: tuple[str, ...]
    line: int
    arguments: dict[str, Argument] = field(default_factory=dict)
    blocks: list["Block"] = field(default_factory=list)

    def of_type(self, *types: str) -> Iterator["Block"]:
        """The blocks directly within, of these types."""
        return (block for block in self.blocks if block.type in types)

    def expressions(self) -> Iterator[Node]:
        """Every expression within, at any depth."""
        for argument in self.arguments.values():
            yield argument.expression
        for block in self.blocks:
            yield from block.expressions()


def parse(text: str) -> Block:
    """The file's blocks.

    Raises:
        SyntaxProblemError: with the line.

    """
    try:
        tree = hcl2.parses_to_tree(text)
    except UnexpectedInput as error:
        raise SyntaxProblemError(f"line {error.line}: {error}") from error
    return _fill(Block("", (), 1), tree.children[0])


def _fill(block: Block, body: Node) -> Block:
    for child in body.children:
        if child.data == "attribute":
            name, _, expression = child.children
            argument = Argument(text_of(name), expression, child.meta.line)
            if argument.name in block.arguments:
                raise SyntaxProblemError(f"line {argument.line}: {argument.name} is set twice")
            block.arguments[argument.name] = argument
        elif child.data == "block":
            *names, inner = (one for one in child.children if _is_tree(one))
            kind, *labels = [text_of(one) for one in names if one.data != "new_line_or_comment"]
            block.blocks.append(_fill(Block(kind, tuple(labels), child.meta.line), inner))
    return block


def text_of(name: Node) -> str:
    """A name or a label, quoted or not."""
    return "".join(
        str(token) for token in name.scan_values(lambda value: True) if token.type != "DBLQUOTE"
    )


def literal(expression: Node) -> Any:
    """What is written out; `UNKNOWN`, also within lists and objects, for what is not."""
    parts = [part for part in expression.children if _is_tree(part)]
    match expression.data:
        case "expr_term" if len(parts) == 1:
            return literal(parts[0])
        case "int_lit" | "float_lit":
            return float(expression.children[0])
        case "unary_op" if expression.children[0] == "-":
            value = literal(parts[0])
            return -value if isinstance(value, float) else UNKNOWN
        case "literal_value":
            return {"true": True, "false": False, "null": None}[str(expression.children[0])]
        case "string" if all(isinstance(part.children[0], Token) for part in parts):
            return text_of(expression)
        case "tuple":
            return [literal(part) for part in _without_comments(parts)]
        case "object":
            return dict(_element(part) for part in _without_comments(parts))
    return UNKNOWN


def _element(element: Node) -> tuple[Any, Any]:
    key, value = (part for part in element.children if _is_tree(part))
    name = key.children[0]
    while _is_tree(name) and name.data == "expr_term" and len(name.children) == 1:
        name = name.children[0]
    known = _is_tree(name) and name.data in ("identifier", "string", "keyword")
    return text_of(name) if known else id(element), literal(value)


def _without_comments(parts: list[Node]) -> list[Node]:
    return [part for part in parts if part.data != "new_line_or_comment"]


def _is_tree(value: object) -> bool:
    return isinstance(value, Tree)
