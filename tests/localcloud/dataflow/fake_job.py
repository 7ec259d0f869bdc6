"""A job that starts in no time; its parameters say how it behaves. Run by the tests as a module."""

import json
import logging
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType


def main() -> int:
    given = dict(word.removeprefix("--").partition("=")[::2] for word in sys.argv[1:])
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s %(message)s")
    stopped = []
    # A real one imports for seconds first, and dies of a signal meanwhile.
    while (path := given.get("starts_with")) and not Path(path).exists():
        time.sleep(0.01)

    def on_signal(number: int, _: FrameType | None) -> None:
        stopped.append(number)
        if given.get("stubborn") or len(stopped) > 1:
            return
        logging.getLogger("fake").warning("asked to end")

    signal.signal(signal.SIGTERM, on_signal)
    print(json.dumps({"arguments": sys.argv[1:], "topic": os.environ.get("TOPIC")}), flush=True)
    if text := given.get("logs_error"):
        logging.getLogger("fake").error("%s\nTraceback (most recent call last):\n  boom", text)
    if path := given.get("metrics_file"):
        counted = {"under_way": 3, "predictions": 2, "latency_ms": distribution()}
        part = Path(f"{path}.part")
        part.write_text(json.dumps(counted))
        if not given.get("never_ready"):
            part.replace(path)
    end = time.monotonic() + float(given.get("seconds") or 600)
    until = given.get("until")
    while time.monotonic() < end and (not stopped or given.get("stubborn")):
        if until and Path(until).exists():
            break
        time.sleep(0.01)
    while stopped and (path := given.get("drains_until")) and not Path(path).exists():
        time.sleep(0.01)
    return int(given.get("exit") or 0)


def distribution() -> dict[str, int]:
    return {"count": 2, "sum": 30, "min": 10, "max": 20}


if __name__ == "__main__":
    sys.exit(main())
