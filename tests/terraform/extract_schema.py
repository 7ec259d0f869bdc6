"""Why this exists: so that `composer.tf` can be held against the Google provider's real schema
where no provider can be downloaded.

The generated Python bindings of the provider carry it: the names of all resources, blocks and
arguments, their types, and whether they are required. This tool reads them out of the bindings'
wheel and writes `schemas/VERSION.json`, which the tests and the stand-in provider share. It runs by
hand, for each version, when a type is missing or another version is to be tested:

    pip download --no-deps --dest /tmp cdktn-provider-google==21.1.0
    python -m tests.terraform.extract_schema /tmp/cdktn_*.whl google_redis_instance

19.10.0 of the bindings is 7.41.0 of the provider, 20.3.1 is 7.46.1, and 21.1.0 is 8.7.0. Types that
a schema has already and those used in the configuration come along by themselves; `data.` in front
names a data source. Blocks and attributes are as `terraform providers schema -json` writes them, so
that the real provider's answer could take the file's place. What the bindings do not tell: limits
of repeated blocks above one, which arguments exclude each other, and what values one takes.

The provider and its bindings are under the MPL-2.0. What is kept of them are names and types, no
text and no code.
"""

import argparse
import base64
import io
import json
import re
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SCHEMAS = HERE / "schemas"
CONFIGURATION = HERE.parent.parent

SCALARS = {"string": "string", "number": "number", "boolean": "bool"}
GETTERS: dict[str, Any] = {
    "getStringAttribute": "string",
    "getNumberAttribute": "number",
    "getBooleanAttribute": "bool",
    "getListAttribute": ["list", "string"],
    "getNumberListAttribute": ["list", "number"],
    "getStringMapAttribute": ["map", "string"],
}

_MEMBER = re.compile(
    r"^ +// (?P<name>\w+) - computed: (?P<computed>\w+), optional: (?P<optional>\w+),"
    r" required: (?P<required>\w+)\n(?P<code>.*?)(?=^ +// \w+ - computed|^ +// ====|\Z)",
    re.M | re.S,
)
_ARGUMENT = re.compile(
    r"^ +(?P<name>\w+): \{\n +value: (?P<value>.*),\n +isBlock: (?P<block>\w+),\n"
    r' +type: "(?P<type>\w+)",\n +storageClassType: "(?P<storage>\w+)",',
    re.M,
)


class UnknownShapeError(Exception):
    """The bindings write something in a way that this tool does not know."""


class Bindings:
    """What the generated code of one resource, data source or the provider says."""

    def __init__(self, source: str) -> None:
        """`source` is the TypeScript that the bindings were compiled from."""
        self._source = source

    def block(self) -> dict[str, Any]:
        """The block of the resource, as in Terraform's own JSON."""
        main = re.search(r"^export class (\w+) extends cdktf\.Terraform\w+ \{$", self._source, re.M)
        if not main:
            raise UnknownShapeError("no resource in it")
        body = self._class(main[1])
        return self._block(body, f"{main[1]}Config", body)

    def _block(self, members: str, interface: str, arguments: str) -> dict[str, Any]:
        attributes: dict[str, Any] = {}
        blocks: dict[str, Any] = {}
        given = {match["name"]: match for match in _ARGUMENT.finditer(arguments)}
        called_blocks = set(re.findall(r"\* (\w+) block$", self._interface(interface), re.M))
        for member in _MEMBER.finditer(members):
            name = member["name"]
            argument = given.pop(name, None)
            if argument and argument["block"] == "true":
                if name not in called_blocks:
                    raise UnknownShapeError(
                        f"{interface}.{name}: a block by its code, not by its text"
                    )
                blocks[name] = self._nested(argument, required=member["required"] == "true")
            else:
                attributes[name] = {
                    "type": _argument_type(argument, interface)
                    if argument
                    else self._computed_type(member["code"], f"{interface}.{name}"),
                    **{
                        flag: True
                        for flag in ("required", "optional", "computed")
                        if member[flag] == "true"
                    },
                }
        if given:
            raise UnknownShapeError(f"{interface}: {', '.join(given)} without a member")
        return {
            **({"attributes": attributes} if attributes else {}),
            **({"block_types": blocks} if blocks else {}),
        }

    def _nested(self, argument: re.Match[str], *, required: bool) -> dict[str, Any]:
        struct = argument["storage"].removesuffix("List")
        function = f"{struct[0].lower()}{struct[1:]}ToHclTerraform"
        arguments = self._function(function)
        inner = self._block(self._members(struct, arguments), struct, arguments)
        if argument["type"] == "struct":
            return {"nesting_mode": "single", "block": inner}
        repeated = argument["value"].startswith("cdktf.listMapperHcl(")
        return {
            "nesting_mode": argument["type"],
            "block": inner,
            **({"min_items": 1} if required else {}),
            **({} if repeated else {"max_items": 1}),
        }

    def _members(self, struct: str, arguments: str) -> str:
        """The class that reads a block back; the provider's own have an interface only."""
        if f"export class {struct}OutputReference " in self._source:
            return self._class(f"{struct}OutputReference")
        interface = self._interface(struct)
        lines = []
        for name in (match["name"] for match in _ARGUMENT.finditer(arguments)):
            camel = re.sub(r"_(\w)", lambda letter: letter[1].upper(), name)
            required = str(f"readonly {camel}: " in interface).lower()
            optional = str(f"readonly {camel}?: " in interface).lower()
            lines.append(
                f"  // {name} - computed: false, optional: {optional}, required: {required}\n"
            )
        return "".join(lines)

    def _computed_type(self, code: str, where: str) -> Any:
        """The type of what only the provider sets: read off the way the bindings read it."""
        if getter := re.search(r"return (cdktf\.Fn\.tolist\()?this\.(\w+)\('\w+'\)", code):
            if getter[2] not in GETTERS:
                raise UnknownShapeError(f"{where}: {getter[2]}")
            kind = GETTERS[getter[2]]
            return ["set", kind[1]] if getter[1] else kind
        if re.search(r"= new cdktf\.StringMap\(", code):
            return ["map", "string"]
        if nested := re.search(r'= new (\w+)List\(this, "\w+", (true|false)\)', code):
            return ["set" if nested[2] == "true" else "list", self._object(nested[1])]
        raise UnknownShapeError(f"{where}: {code.strip().splitlines()[:1]}")

    def _object(self, struct: str) -> Any:
        block = self._block(self._class(f"{struct}OutputReference"), struct, "")
        members = block.get("attributes", {})
        return ["object", {name: one["type"] for name, one in members.items()}]

    def _class(self, name: str) -> str:
        return self._section(rf"export class {name} extends [^\n]*")

    def _interface(self, name: str) -> str:
        return self._section(rf"export interface {name}(?: extends [^\n]*)? \{{")

    def _function(self, name: str) -> str:
        return self._section(rf"export function {name}\([^\n]*")

    def _section(self, first_line: str) -> str:
        found = re.search(rf"^{first_line}$(.*?)^\}}$", self._source, re.M | re.S)
        if not found:
            raise UnknownShapeError(f"nothing like {first_line}")
        return found[1]


def _argument_type(argument: re.Match[str], struct: str) -> Any:
    kind, storage = argument["type"], argument["storage"]
    element = SCALARS.get(re.sub("(List|Map)$", "", storage))
    if element and kind == "simple" and storage in SCALARS:
        return element
    if element and kind in ("list", "set", "map") and storage not in SCALARS:
        return [kind, element]
    raise UnknownShapeError(f"{struct}.{argument['name']}: {kind} of {storage}")


def sources(wheel: Path) -> Iterator[tuple[str, str]]:
    """Each module of the bindings (as in `pubsub-topic`) with its TypeScript."""
    with zipfile.ZipFile(wheel) as archive:
        inner = next(name for name in archive.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(archive.read(inner)), mode="r:gz") as package:
            for member in package:
                parts = Path(member.name).parts
                if parts[:2] != ("package", "lib") or not member.name.endswith(".js"):
                    continue
                handle = package.extractfile(member)
                if handle and len(parts) > 3:
                    yield parts[2], _typescript(handle.read().decode())


def _typescript(javascript: str) -> str:
    """What the compiler read; its comments tell computed from optional, and do not survive it."""
    found = re.search(r"sourceMappingURL=data:application/json;base64,(\S+)", javascript)
    text = "\n".join(json.loads(base64.b64decode(found[1]))["sourcesContent"]) if found else ""
    # CDK for Terraform goes on as CDK Terrain, and its library under the name of that.
    return text.replace("cdktn.", "cdktf.")


def module_of(kind: str) -> str:
    """`google_redis_instance` is in `redis-instance`, `data.google_x` in `data-google-x`."""
    if kind.startswith("data."):
        return kind.replace("data.", "data-").replace("_", "-")
    return kind.removeprefix("google_").replace("_", "-")


def extract(wheel: Path, kinds: Iterable[str]) -> dict[str, Any]:
    """The schema of these types (`google_…`, `data.google_…`) and of the provider's own block."""
    wanted = {module_of(kind): kind for kind in kinds} | {"provider": "provider"}
    text: dict[str, list[str]] = {module: [] for module in wanted}
    for module, source in sources(wheel):
        if module in wanted:
            text[module].append(source)
    if missing := sorted(wanted[module] for module, found in text.items() if not found):
        raise UnknownShapeError(f"{wheel.name} has no {', '.join(missing)}")
    blocks = {}
    for module, kind in sorted(wanted.items()):
        blocks[kind] = Bindings("\n".join(text[module])).block()
    versions = set(
        re.findall(r"providerVersion: '([\d.]+)'", " ".join(map(" ".join, text.values())))
    )
    return {
        "source": {
            "provider": "hashicorp/google",
            "provider_version": versions.pop() if len(versions) == 1 else None,
            "wheel": wheel.name,
            "licence": "MPL-2.0 (the provider); names and types only",
        },
        "provider": blocks.pop("provider"),
        "resources": {kind: block for kind, block in blocks.items() if kind[:5] != "data."},
        "data_sources": {kind[5:]: block for kind, block in blocks.items() if kind[:5] == "data."},
    }


def dump(schema: dict[str, Any]) -> str:
    """JSON with a line per type, so that it stays small, and a diff names what changed."""
    parts = []
    for part, holds in schema.items():
        if part in ("resources", "data_sources"):
            lines = (f"{json.dumps(kind)}:{_compact(holds[kind])}" for kind in sorted(holds))
            parts.append(f"{json.dumps(part)}:{{\n" + ",\n".join(lines) + "\n}")
        else:
            parts.append(f"{json.dumps(part)}:{_compact(holds)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _compact(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def known(schemas: Path = SCHEMAS) -> set[str]:
    """The types that were extracted before, of any version."""
    found = set()
    for path in schemas.glob("*.json"):
        old = json.loads(path.read_text())
        found |= {*old["resources"], *(f"data.{kind}" for kind in old["data_sources"])}
    return found


def used(configuration: Path = CONFIGURATION) -> set[str]:
    """The types that the folder's Terraform files name."""
    found = set()
    for path in configuration.glob("*.tf"):
        for block, kind in re.findall(
            r'^ *(resource|data) +"(google_\w+)"', path.read_text(), re.M
        ):
            found.add(kind if block == "resource" else f"data.{kind}")
    return found


def main(arguments: list[str] | None = None) -> int:
    """Write the wheel's schema; 1 with a sentence when the wheel cannot be understood."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.terraform.extract_schema", description="Write schemas/VERSION.json."
    )
    parser.add_argument("wheel", type=Path, help="the bindings, as downloaded")
    parser.add_argument("types", nargs="*", help="google_pubsub_topic, data.google_project, …")
    parser.add_argument("--schemas", type=Path, default=SCHEMAS, help="the folder to write to")
    given = parser.parse_args(arguments)
    try:
        schema = extract(given.wheel, {*given.types, *known(given.schemas), *used()})
    except UnknownShapeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    version = schema["source"]["provider_version"]
    (given.schemas / f"{version}.json").write_text(dump(schema))
    return 0


if __name__ == "__main__":
    sys.exit(main())
