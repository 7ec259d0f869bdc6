"""Why this exists: what an expression refers to (`var.region`,
`google_pubsub_topic.prompts.id`), found in the syntax and not by searching the text, so that
loop variables, keys of objects and words in strings are told from references, and those inside
strings and heredocs are found.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import hcl2
from lark import Token, Tree

from tests.terraform.configuration import Block, Node, text_of

INDEX = "[]"
"""Stands in a reference's steps for an index or a splat."""


@dataclass(frozen=True)
class Reference:
    """`root.step.step`; `line` counts from the file's first."""

    root: str
    steps: tuple[str, ...]
    line: int

    def __str__(self) -> str:
        """As it is written, indexes emptied."""
        return ".".join((self.root, *self.steps)).replace(".[]", "[]")


def in_block(block: Block, bound: frozenset[str] = frozenset()) -> Iterator[Reference]:
    """All references within, at any depth; a `dynamic` block's own name is no reference."""
    for argument in block.arguments.values():
        yield from in_expression(argument.expression, bound)
    for inner in block.blocks:
        if inner.type == "dynamic" and inner.labels:
            iterator = inner.arguments.get("iterator")
            name = text_of(iterator.expression) if iterator else inner.labels[0]
            for argument in inner.arguments.values():
                if argument is not iterator:
                    within = bound if argument.name == "for_each" else bound | {name}
                    yield from in_expression(argument.expression, within)
            for content in inner.blocks:
                yield from in_block(content, bound | {name})
        else:
            yield from in_block(inner, bound)


def in_expression(node: Node, bound: frozenset[str] = frozenset()) -> Iterator[Reference]:
    """All references in one expression."""
    match node.data:
        case "expr_term" if chain := _chain(node):
            root, steps, indexes = chain
            if root not in bound:
                yield Reference(root, tuple(steps), node.meta.line)
            for index in indexes:
                yield from _in_all(index.children, bound)
        case "for_tuple_expr" | "for_object_expr":
            trees = (child for child in node.children if isinstance(child, Tree))
            intro = next(child for child in trees if child.data == "for_intro")
            collection = intro.children
            names = _names(collection)
            yield from _in_all(collection, bound)
            rest = [child for child in node.children if child is not intro]
            yield from _in_all(rest, bound | names)
        case "object_elem_key" if _is_name(node):
            return
        case "string":
            loops = node.find_data("template_for_start")
            names = frozenset().union(*(_names(loop.children) for loop in loops))
            yield from _in_all(node.children, bound | names)
        case "heredoc_template" | "heredoc_template_trim":
            line = node.meta.line
            for found in in_expression(_heredoc(str(node.children[0])), bound):
                yield Reference(found.root, found.steps, line)
        case _:
            yield from _in_all(node.children, bound)


def _in_all(children: list[Node | Token], bound: frozenset[str]) -> Iterator[Reference]:
    for child in children:
        if isinstance(child, Tree):
            yield from in_expression(child, bound)


def _chain(term: Node) -> tuple[str, list[str], list[Node]] | None:
    """Root, steps and index expressions of `a.b[c].d`; None where no name begins it."""
    if len(term.children) != 1 or not isinstance(term.children[0], Tree):
        return None
    inner = term.children[0]
    if inner.data == "identifier":
        return text_of(inner), [], []
    if not inner.data.endswith("_expr_term"):
        return None
    before = _chain(inner.children[0])
    if before is None:
        return None
    root, steps, indexes = before
    for step in _flat(inner.children[1]):
        if step.data == "get_attr":
            steps.append(text_of(step.children[1]))
        else:
            steps.append(INDEX)
            indexes.append(step)
    return root, steps, indexes


def _flat(step: Node) -> Iterator[Node]:
    if step.data in ("attr_splat", "full_splat"):
        yield Tree("splat", [])
        yield from (child for child in step.children if isinstance(child, Tree))
    else:
        yield step


def _names(children: list[Node | Token]) -> frozenset[str]:
    """The loop variables of a `for`."""
    return frozenset(
        text_of(child)
        for child in children
        if isinstance(child, Tree) and child.data == "identifier"
    )


def _is_name(key: Node) -> bool:
    """A key that is a bare word names itself; `(var.key)` in parentheses is an expression."""
    word = key.children[0]
    if isinstance(word, Tree) and word.data == "expr_term" and len(word.children) == 1:
        word = word.children[0]
    return isinstance(word, Tree) and word.data in ("identifier", "keyword")


def _heredoc(text: str) -> Node:
    """A string that has the heredoc's `${…}` and `%{…}` and none of its text."""
    pieces = []
    end = 0
    for start in re.finditer(r"(?<!\$)\$\{|(?<!%)%\{", text):
        if start.start() < end:
            continue
        depth = 1
        quoted = False
        end = start.end()
        while depth and end < len(text):
            letter = text[end]
            if letter == '"' and text[end - 1] != "\\":
                quoted = not quoted
            depth += 0 if quoted else {"{": 1, "}": -1}.get(letter, 0)
            end += 1
        pieces.append(" ".join(text[start.start() : end].split()))
    tree = hcl2.parses_to_tree('x = "' + "".join(pieces) + '"')
    return next(tree.find_data("attribute")).children[2]
