"""Pub/Sub on one machine, over gRPC, for any client that `PUBSUB_EMULATOR_HOST` points here.

`PubSubServer` serves; its `broker` decides and is pure; `journal` keeps the state in SQLite.
Left out, and refused with UNIMPLEMENTED when asked for: push, export and exactly-once delivery,
schemas, snapshots, replay of acknowledged messages, transforms, IAM. Unlike Google's emulator, it
filters, keeps state, bounds outstanding messages and enforces the service's limits.
"""

from localcloud.pubsub.faults import Faults
from localcloud.pubsub.message import SubscriptionStats
from localcloud.pubsub.server import PubSubServer

__all__ = ["Faults", "PubSubServer", "SubscriptionStats"]
