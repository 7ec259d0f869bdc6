"""A worker of a batch job: Beam's own worker harness, as `BundleRunner`'s process finds it.

    python -m localcloud.bundles.worker --worker_id=NAME --worker_address_file=FILE OPTION…

It takes the job's own options, because some steps read files with them, and ends with exit code 0
once the job's process has disconnected. Beam's program for this, `sdk_worker_main`, sends its log
over another connection; here it goes to the worker's log.
"""

import argparse
import json
import logging
import os
import sys
import time
from pathlib import Path

import grpc
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.options.value_provider import RuntimeValueProvider
from apache_beam.runners.portability.fn_api_runner.worker_handlers import FNAPI_RUNNER_CAPABILITIES
from apache_beam.runners.worker.sdk_worker import SdkHarness

_POLL_S = 0.1


def main(argv: list[str]) -> None:
    """Work for a job until the job is over."""
    # Forced, because a library that logs during its import leaves a handler of its own.
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        force=True,
    )
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--worker_id", required=True)
    parser.add_argument("--worker_address_file", required=True, type=Path)
    own, others = parser.parse_known_args(argv)
    options = PipelineOptions(others)
    RuntimeValueProvider.set_runtime_options(options.get_all_options())
    FileSystems.set_options(options)
    while not own.worker_address_file.exists():
        time.sleep(_POLL_S)
    harness = SdkHarness(
        json.loads(own.worker_address_file.read_text()),
        worker_id=own.worker_id,
        runner_capabilities=FNAPI_RUNNER_CAPABILITIES,
    )
    try:
        harness.run()
    except grpc.RpcError:
        logging.getLogger(__name__).info("the job has disconnected")


if __name__ == "__main__":
    main(sys.argv[1:])
    logging.shutdown()
    # At once: threads that wait for the job's process would keep this one alive.
    os._exit(0)
