"""A stand-in for the Dataflow API that runs each job as a process on this machine."""

from localcloud.dataflow.app import dataflow_app
from localcloud.dataflow.service import JobService
from localcloud.dataflow.settings import Settings

__all__ = ["JobService", "Settings", "dataflow_app"]
