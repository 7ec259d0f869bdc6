"""Looks at a submitted pipeline and its options, in a process of its own.

Standard input is JSON: `streaming`, `options` (those of sdkPipelineOptions), `pipeline` (the staged
proto, in base64). The last line of standard output is a `Found` as JSON.
"""

import base64
import dataclasses
import json
import sys
from typing import Any

# Of Beam's own options, those that say where a job runs and how large; the rest is the runner's.
_PLACES = (
    "temp_location",
    "staging_location",
    "num_workers",
    "max_num_workers",
    "machine_type",
    "service_account_email",
    "network",
    "subnetwork",
    "labels",
)


@dataclasses.dataclass(frozen=True)
class Found:
    """What is wrong with a pipeline; the arguments it was submitted with; what it reads."""

    problems: list[str]
    arguments: list[str]
    subscription: str | None


def look(*, streaming: bool, options: dict[str, Any], pipeline: bytes) -> Found:
    """Return what there is to say of a submission."""
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.portability import common_urns
    from apache_beam.portability.api import beam_runner_api_pb2
    from google.protobuf.message import DecodeError

    from beam_jobs.config.options import ImagenOptions

    proto = beam_runner_api_pb2.Pipeline()
    try:
        proto.ParseFromString(pipeline)
    except DecodeError as error:
        return Found([f"the staged pipeline is no pipeline: {error}"], [], None)
    problems = []
    if not proto.components.transforms:
        problems.append("the staged pipeline has no transforms")
    subscriptions = []
    for transform in proto.components.transforms.values():
        if transform.spec.urn == common_urns.composites.PUBSUB_READ.urn:
            payload = beam_runner_api_pb2.PubSubReadPayload()
            payload.ParseFromString(transform.spec.payload)
            subscriptions.append(payload.subscription)
    wanted = options.get("messages_subscription")
    if streaming and subscriptions != [wanted]:
        problems.append(
            f"expected a pipeline that reads from {wanted!r}, got one that reads from "
            f"{subscriptions or 'no subscription'}"
        )
    ours = set(ImagenOptions([]).get_all_options(current_only=True))
    defaults = PipelineOptions([]).get_all_options()
    arguments = [
        argument
        for name, value in sorted(options.items())
        if name in ours | set(_PLACES) and value != defaults.get(name)
        for argument in _arguments(name, value)
    ]
    return Found(problems, arguments, wanted if streaming else None)


def _arguments(name: str, value: Any) -> list[str]:
    if isinstance(value, list):
        return [f"--{name}={each}" for each in value]
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # numbers come as floats, whatever they were
    return [f"--{name}={value}"]


def main() -> None:
    """See the module."""
    request = json.load(sys.stdin)
    request["pipeline"] = base64.b64decode(request["pipeline"])
    print(json.dumps(dataclasses.asdict(look(**request))))


if __name__ == "__main__":
    main()
