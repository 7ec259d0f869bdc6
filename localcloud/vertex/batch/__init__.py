"""A stand-in for Vertex AI's `batchPredictionJobs`: batch inference over files in Cloud Storage.

Jobs read requests as JSON Lines and write answers as JSON Lines, hours later where it is real. The
format of both, and of jobs, is that of
https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/capabilities/batch-prediction-from-cloud-storage
"""

from localcloud.vertex.batch.routes import add_batch_routes
from localcloud.vertex.batch.service import BatchService
from localcloud.vertex.batch.settings import Settings

__all__ = ["BatchService", "Settings", "add_batch_routes"]
