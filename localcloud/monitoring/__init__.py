"""A stand-in for Cloud Monitoring, with the time series that the health check reads."""

from localcloud.monitoring.app import monitoring_app
from localcloud.monitoring.sampler import Sampler, Settings

__all__ = ["Sampler", "Settings", "monitoring_app"]
