"""Checks a submitted pipeline and its options, in a process of its own.

Standard input is JSON with `streaming`, `options` (those of sdkPipelineOptions) and `pipeline` (the
staged proto in base64). The last line of standard output is a `CheckResult` as JSON.
"""

import base64
import dataclasses
import json
import sys
from typing import Any

# Beam's own options that say where a job runs and how large it is. The other options of Beam
# concern the runner that submitted the job.
_KEPT_BEAM_OPTIONS = (
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
class CheckResult:
    """The result of a check.

    Attributes:
        problems: what is wrong with the pipeline; empty if nothing is.
        arguments: the command-line arguments that it was submitted with.
        subscription: the subscription that it reads from; None for a batch job.
    """

    problems: list[str]
    arguments: list[str]
    subscription: str | None


def check(*, streaming: bool, options: dict[str, Any], pipeline: bytes) -> CheckResult:
    """Check a submission.

    Args:
        streaming: whether it was submitted as a streaming job.
        options: its sdkPipelineOptions.
        pipeline: its serialized pipeline proto.
    """
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.portability import common_urns
    from apache_beam.portability.api import beam_runner_api_pb2
    from google.protobuf.message import DecodeError

    from beam_jobs.config.import_options import ImportOptions
    from beam_jobs.config.options import ImagenOptions

    proto = beam_runner_api_pb2.Pipeline()
    try:
        proto.ParseFromString(pipeline)
    except DecodeError as error:
        return CheckResult([f"the staged pipeline is no pipeline: {error}"], [], None)
    problems = []
    if not proto.components.transforms:
        problems.append("the staged pipeline has no transforms")
    subscriptions = []
    for transform in proto.components.transforms.values():
        if transform.spec.urn == common_urns.composites.PUBSUB_READ.urn:
            payload = beam_runner_api_pb2.PubSubReadPayload()
            payload.ParseFromString(transform.spec.payload)
            subscriptions.append(payload.subscription)
    expected = options.get("messages_subscription")
    if streaming and subscriptions != [expected]:
        problems.append(
            f"expected a pipeline that reads from {expected!r}, got one that reads from "
            f"{subscriptions or 'no subscription'}"
        )
    ours = {
        name
        for options_of in (ImagenOptions, ImportOptions)
        for name in options_of([]).get_all_options(current_only=True)
    }
    kept = ours | set(_KEPT_BEAM_OPTIONS)
    defaults = PipelineOptions([]).get_all_options()
    arguments = [
        argument
        for name, value in sorted(options.items())
        if name in kept and value != defaults.get(name)
        for argument in _arguments(name, value)
    ]
    return CheckResult(problems, arguments, expected if streaming else None)


def _arguments(name: str, value: Any) -> list[str]:
    if isinstance(value, list):
        return [f"--{name}={each}" for each in value]
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # JSON turns all numbers into floats
    return [f"--{name}={value}"]


def main() -> None:
    """Read a submission from standard input, and print the result of its check."""
    request = json.load(sys.stdin)
    request["pipeline"] = base64.b64decode(request["pipeline"])
    print(json.dumps(dataclasses.asdict(check(**request))))


if __name__ == "__main__":
    main()
