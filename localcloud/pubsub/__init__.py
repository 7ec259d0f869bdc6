"""Pub/Sub on one machine, over gRPC, for clients that use `PUBSUB_EMULATOR_HOST`.

`PubSubServer` serves requests, its `broker` makes all decisions without I/O, and `journal` keeps
the state in SQLite. Requests for features that are left out return UNIMPLEMENTED: push, export and
exactly-once delivery, schemas, snapshots, replay of acknowledged messages, transforms, IAM. Unlike
Google's emulator, it applies filters, keeps state across restarts, limits outstanding messages and
enforces the service's limits.
"""

from localcloud.pubsub.faults import Faults
from localcloud.pubsub.message import SubscriptionStats
from localcloud.pubsub.server import PubSubServer

__all__ = ["Faults", "PubSubServer", "SubscriptionStats"]
