"""Why this exists: the messages in which Terraform talks to a provider, without a compiler of them.

Terraform starts a provider as a process and talks gRPC to it: its plugin protocol, version 6. Here
is the part of it that a plan and an apply need, as a table from which protobuf's own runtime builds
the classes. Names of messages never travel, numbers do; what is left out is skipped by the reader.
"""

from collections.abc import Callable
from typing import Any

import grpc
import msgpack
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SERVICE = "tfplugin6.Provider"
VERSION = 6
NESTING = {"single": 1, "list": 2, "set": 3, "map": 4}
ERROR = 1

# message: its fields, as `name number type`; `*` is repeated, `%` a map from strings.
_MESSAGES = {
    "Nothing": "",
    "DynamicValue": "msgpack 1 bytes, json 2 bytes",
    "Step": "attribute_name 1 string, element_key_string 2 string, element_key_int 3 int64",
    "AttributePath": "steps 1 *Step",
    "Diagnostic": "severity 1 int32, summary 2 string, detail 3 string, attribute 4 AttributePath",
    "Diagnostics": "diagnostics 1 *Diagnostic",
    "ProviderDiagnostics": "diagnostics 2 *Diagnostic",
    "Attribute": "name 1 string, type 2 bytes, required 4 bool, optional 5 bool, computed 6 bool",
    "NestedBlock": (
        "type_name 1 string, block 2 Block, nesting 3 int32, min_items 4 int64, max_items 5 int64"
    ),
    "Block": "version 1 int64, attributes 2 *Attribute, block_types 3 *NestedBlock",
    "Schema": "version 1 int64, block 2 Block",
    "Schemas": "provider 1 Schema, resource_schemas 2 %Schema, data_source_schemas 3 %Schema",
    "Config": "type_name 1 string, config 2 DynamicValue",
    "ProviderConfig": "config 1 DynamicValue",
    "Configure": "terraform_version 1 string, config 2 DynamicValue",
    "RawState": "json 1 bytes",
    "Upgrade": "type_name 1 string, version 2 int64, raw_state 3 RawState",
    "Upgraded": "upgraded_state 1 DynamicValue, diagnostics 2 *Diagnostic",
    "Read": "type_name 1 string, current_state 2 DynamicValue",
    "State": "new_state 1 DynamicValue, diagnostics 2 *Diagnostic",
    "Plan": (
        "type_name 1 string, prior_state 2 DynamicValue, proposed_new_state 3 DynamicValue,"
        " config 4 DynamicValue"
    ),
    "Planned": (
        "planned_state 1 DynamicValue, requires_replace 2 *AttributePath, legacy_type_system 5 bool"
    ),
    "Apply": "type_name 1 string, prior_state 2 DynamicValue, planned_state 3 DynamicValue",
    "Applied": "new_state 1 DynamicValue, diagnostics 3 *Diagnostic, legacy_type_system 4 bool",
}
METHODS = {
    "GetProviderSchema": ("Nothing", "Schemas"),
    "ValidateProviderConfig": ("ProviderConfig", "ProviderDiagnostics"),
    "ValidateResourceConfig": ("Config", "Diagnostics"),
    "ValidateDataResourceConfig": ("Config", "Diagnostics"),
    "ConfigureProvider": ("Configure", "Diagnostics"),
    "UpgradeResourceState": ("Upgrade", "Upgraded"),
    "ReadResource": ("Read", "State"),
    "PlanResourceChange": ("Plan", "Planned"),
    "ApplyResourceChange": ("Apply", "Applied"),
    "ReadDataSource": ("Config", "State"),
    "StopProvider": ("Nothing", "Nothing"),
}


def _build() -> dict[str, Any]:
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="tests/terraform.proto", package="terraform_stand_in", syntax="proto3"
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for one in filter(None, fields.split(", ")):
            label, number, kind = one.strip().split()
            added = message.field.add(name=label, number=int(number), label=field.LABEL_OPTIONAL)
            if kind[0] in "*%":
                added.label = field.LABEL_REPEATED
            bare = kind.lstrip("*%")
            if kind[0] == "%":
                entry = message.nested_type.add(name=label.title().replace("_", "") + "Entry")
                entry.options.map_entry = True
                entry.field.add(name="key", number=1, label=1, type=field.TYPE_STRING)
                value = entry.field.add(name="value", number=2, label=1, type=field.TYPE_MESSAGE)
                value.type_name = f".terraform_stand_in.{bare}"
                bare = f"{name}.{entry.name}"
            if bare[0].isupper():
                added.type, added.type_name = field.TYPE_MESSAGE, f".terraform_stand_in.{bare}"
            else:
                added.type = field.Type.Value(f"TYPE_{bare.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(
            pool.FindMessageTypeByName(f"terraform_stand_in.{name}")
        )
        for name in _MESSAGES
    }


MESSAGES = _build()

UNKNOWN = msgpack.ExtType(0, b"\0")
"""A value that is known after apply."""


def decode(value: Any) -> Any:
    """A value as Terraform sends it; unknown ones, refined or not, stay `ExtType`."""
    return msgpack.unpackb(value.msgpack, strict_map_key=False) if value.msgpack else None


def encode(value: Any) -> Any:
    """A value as Terraform reads it."""
    return MESSAGES["DynamicValue"](msgpack=msgpack.packb(value))


def handler(methods: dict[str, Callable[[Any], Any]]) -> grpc.GenericRpcHandler:
    """A gRPC service of these methods, each from a request to the fields of its answer."""

    def unary(name: str) -> grpc.RpcMethodHandler:
        request, response = (MESSAGES[kind] for kind in METHODS[name])
        return grpc.unary_unary_rpc_method_handler(
            lambda message, _: response(**methods[name](message)),
            request_deserializer=request.FromString,
            response_serializer=response.SerializeToString,
        )

    return grpc.method_handlers_generic_handler(SERVICE, {name: unary(name) for name in methods})
