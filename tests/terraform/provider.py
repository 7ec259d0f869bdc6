"""Why this exists: Terraform itself checks and evaluates `composer.tf`, where the Google provider
cannot be downloaded.

A provider that has the real one's schema and no cloud behind it. Terraform attaches to it as to a
provider under a debugger, through `TF_REATTACH_PROVIDERS`, so nothing is installed. It plans what
it is asked for, leaves unknown what the service decides, and fills that in on apply.

By hand, with `composer.tf` and the folders beside it copied somewhere:

    python -m tests.terraform.provider terraform -chdir=/tmp/copy plan -var project=my-project …

What it cannot tell: values that the real provider's own code refuses, and defaults that it fills
in, which are null or made up here.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from msgpack import ExtType

from tests.terraform import schema as schemas
from tests.terraform.answers import after_apply, found_there, while_planning
from tests.terraform.behaviour import (
    as_the_service_has_it,
    kept,
    replaced_for,
    same,
    stays,
    worked_out_anew,
)
from tests.terraform.protocol import (
    ERROR,
    MESSAGES,
    NESTING,
    UNKNOWN,
    VERSION,
    decode,
    encode,
    handler,
)

GCLOUD = Path(__file__).with_name("gcloud.py")


class StandIn:
    """One provider: what Terraform may ask it, by the protocol's names."""

    def __init__(self, schema: dict[str, Any]) -> None:
        """`schema` is in the form of the files in `schemas/`."""
        self._schema = schema
        self._defaults: dict[str, Any] = {}

    def methods(self) -> dict[str, Any]:
        """The protocol's methods, each from a request to the fields of its answer."""
        return {
            "GetProviderSchema": lambda _: self._schemas(),
            "ValidateProviderConfig": lambda _: {},
            "ValidateResourceConfig": lambda request: self._validate("resources", request),
            "ValidateDataResourceConfig": lambda request: self._validate("data_sources", request),
            "ConfigureProvider": self._configure,
            "UpgradeResourceState": self._upgrade,
            "ReadResource": self._look,
            "PlanResourceChange": self._plan,
            "ApplyResourceChange": self._apply,
            "ReadDataSource": self._read,
            "StopProvider": lambda _: {},
        }

    def _schemas(self) -> dict[str, Any]:
        return {
            "provider": _schema(self._schema["provider"]),
            "resource_schemas": {
                kind: _schema(block) for kind, block in self._schema["resources"].items()
            },
            "data_source_schemas": {
                kind: _schema(block) for kind, block in self._schema["data_sources"].items()
            },
        }

    def _validate(self, kinds: str, request: Any) -> dict[str, Any]:
        """What Terraform leaves to providers: arguments that only they may set."""
        block = self._schema[kinds][request.type_name]
        return {
            "diagnostics": [
                MESSAGES["Diagnostic"](
                    severity=ERROR,
                    summary="Not to be set",
                    detail=f"{request.type_name}: {name} is the provider's to set.",
                )
                for name in _set_but_computed(block, decode(request.config))
            ]
        }

    def _configure(self, request: Any) -> dict[str, Any]:
        config = decode(request.config)
        self._defaults = {
            name: config.get(name)
            for name in ("project", "region", "default_labels")
            if not isinstance(config.get(name), ExtType)
        }
        return {}

    def _upgrade(self, request: Any) -> dict[str, Any]:
        state = json.loads(request.raw_state.json)
        return {"upgraded_state": encode(state)}

    def _look(self, request: Any) -> dict[str, Any]:
        state = as_the_service_has_it(request.type_name, decode(request.current_state))
        return {"new_state": encode(state)}

    def _plan(self, request: Any) -> dict[str, Any]:
        proposed = decode(request.proposed_new_state)
        if proposed is None:
            return {"planned_state": request.proposed_new_state}
        kind, prior = request.type_name, decode(request.prior_state)
        proposed = worked_out_anew(same(kind, prior, kept(kind, prior, proposed)))
        block = self._schema["resources"][kind]

        def planned(where: str, name: str, _: Any, context: dict[str, Any]) -> Any:
            known = while_planning(where, name, context)
            return UNKNOWN if known is None else known

        state = self._filled(block, proposed, kind, None, planned)
        step, path = MESSAGES["Step"], MESSAGES["AttributePath"]
        changed = replaced_for(kind, prior, state)
        return {
            "planned_state": encode(state),
            "requires_replace": [path(steps=[step(attribute_name=name)]) for name in changed],
            # As the real one, so that it may plan what is not in the configuration.
            "legacy_type_system": True,
        }

    def _apply(self, request: Any) -> dict[str, Any]:
        planned = decode(request.planned_state)
        if planned is None:
            return self._delete(request)
        state = self._decided("resources", request.type_name, planned)
        return {"new_state": encode(state), "legacy_type_system": True}

    def _delete(self, request: Any) -> dict[str, Any]:
        kind = request.type_name
        if why := stays(kind, decode(request.prior_state)):
            said = MESSAGES["Diagnostic"](severity=ERROR, summary="Not deleted", detail=why)
            return {"new_state": request.prior_state, "diagnostics": [said]}
        return {"new_state": request.planned_state}

    def _read(self, request: Any) -> dict[str, Any]:
        config, kind = decode(request.config), request.type_name
        there = found_there(kind, config, schemas.attributes(self._schema["data_sources"][kind]))
        found = {**config, **there}
        return {"new_state": encode(self._decided("data_sources", kind, found))}

    def _decided(self, kinds: str, kind: str, values: dict[str, Any]) -> Any:
        return self._filled(self._schema[kinds][kind], values, kind, UNKNOWN, after_apply)

    def _filled(
        self,
        block: dict[str, Any],
        values: Any,
        where: str,
        hole: Any,
        fill: Any,
        context: Any = None,
    ) -> Any:
        """The values with `fill`'s answer wherever a computed attribute is null or is `hole`."""
        found = dict(values)
        attributes = schemas.attributes(block)
        context = {**self._defaults, **(context or {})}
        context |= {name: value for name, value in found.items() if _known(value)}
        for name, inner in found.items():
            if isinstance(inner, list) and len(inner) == 1 and isinstance(inner[0], dict):
                context |= {f"{name}_{key}": value for key, value in inner[0].items()}
        # Ids are made of the other attributes, so they come last.
        for name in sorted(attributes, key=lambda one: (one in ("id", "name", "self_link"), one)):
            holds = found.get(name)
            empty = holds is None or (hole is not None and isinstance(holds, ExtType))
            if attributes[name].get("computed") and empty:
                found[name] = fill(where, name, attributes[name]["type"], context)
                if _known(found[name]):
                    context[name] = found[name]
        for name, nested in schemas.block_types(block).items():
            inner = found.get(name)
            if isinstance(inner, list):
                found[name] = [
                    self._filled(nested["block"], one, f"{where}.{name}", hole, fill, context)
                    for one in inner
                ]
        return found


def _known(value: Any) -> bool:
    return value is not None and not isinstance(value, ExtType)


def _set_but_computed(block: dict[str, Any], values: Any) -> Iterator[str]:
    if not isinstance(values, dict):
        return
    for name, one in schemas.attributes(block).items():
        if values.get(name) is not None and not {"required", "optional"} & set(one):
            yield name
    for name, nested in schemas.block_types(block).items():
        inner = values.get(name)
        for one in inner if isinstance(inner, list) else [inner]:
            yield from (f"{name}.{found}" for found in _set_but_computed(nested["block"], one))


def _schema(block: dict[str, Any]) -> Any:
    return MESSAGES["Schema"](block=_block(block))


def _block(block: dict[str, Any]) -> Any:
    return MESSAGES["Block"](
        attributes=[
            MESSAGES["Attribute"](name=name, **{**one, "type": json.dumps(one["type"]).encode()})
            for name, one in schemas.attributes(block).items()
        ],
        block_types=[
            MESSAGES["NestedBlock"](
                type_name=name,
                block=_block(one["block"]),
                nesting=NESTING[one["nesting_mode"]],
                min_items=one.get("min_items", 0),
                max_items=one.get("max_items", 0),
            )
            for name, one in schemas.block_types(block).items()
        ],
    )


@contextlib.contextmanager
def serve(version: str = schemas.VERSIONS[-1]) -> Iterator[dict[str, str]]:
    """Serves the provider; the environment in which `terraform` finds it, and nothing beyond it."""
    schema = schemas.load(version)
    with tempfile.TemporaryDirectory(prefix="terraform-") as folder:
        server = grpc.server(ThreadPoolExecutor(8))
        server.add_generic_rpc_handlers((handler(StandIn(schema).methods()),))
        address = f"{folder}/provider.sock"
        server.add_insecure_port(f"unix:{address}")
        server.start()
        empty, gcloud = Path(folder, "terraformrc"), Path(folder, "gcloud")
        empty.touch()
        gcloud.write_text(f'#!/bin/sh\nexec {sys.executable} -SE {GCLOUD} "$@"\n')
        gcloud.chmod(0o755)
        attached = {
            "Protocol": "grpc",
            "ProtocolVersion": VERSION,
            "Pid": os.getpid(),
            "Test": True,
            "Addr": {"Network": "unix", "String": address},
        }
        try:
            yield {
                # Somebody's own variables and settings are not what is tested.
                **{name: value for name, value in os.environ.items() if name[:3] != "TF_"},
                "TF_REATTACH_PROVIDERS": json.dumps({schema["source"]["provider"]: attached}),
                "TF_CLI_CONFIG_FILE": str(empty),
                "PATH": f"{folder}:{os.environ['PATH']}",
                "TF_IN_AUTOMATION": "1",
                "CHECKPOINT_DISABLE": "1",
            }
        finally:
            server.stop(grace=None).wait()


if __name__ == "__main__":
    with serve() as environment:
        sys.exit(subprocess.run(sys.argv[1:], env=environment, check=False).returncode)
