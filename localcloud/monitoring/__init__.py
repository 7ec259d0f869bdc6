"""A stand-in for Cloud Monitoring: the time series that a health check reads, from real state."""

from localcloud.monitoring.app import monitoring_app
from localcloud.monitoring.sampler import Sampler, Settings

__all__ = ["Sampler", "Settings", "monitoring_app"]
