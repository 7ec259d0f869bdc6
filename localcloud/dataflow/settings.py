"""How the stand-in for Dataflow behaves; can be changed while running."""

import dataclasses


@dataclasses.dataclass
class Settings:
    """Set by a PATCH of `/localcloud`.

    `error_rate` of all calls, from 0 to 1, answer `error_status`; every call takes `latency_s`
    more. A job is QUEUED for `queued_s` and PENDING for `pending_s`, or until its process works.
    """

    error_rate: float = 0.0
    error_status: int = 503
    latency_s: float = 0.0
    queued_s: float = 0.5
    pending_s: float = 0.5
