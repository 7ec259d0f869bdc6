"""`python -m beam_jobs doctor`: whether all that prompts need is there, each on a line.

It only reads, as whoever runs it: nothing is published, stored or generated, and nothing is paid.
"""

import importlib.metadata
import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path

from packaging.requirements import Requirement

from beam_jobs.cli.endpoints import Endpoint, endpoints, stand_ins_beside
from beam_jobs.cli.remedies import shortened
from beam_jobs.cli.services import IdleError, NotAskedError, Services, UnknownError, WrongError
from beam_jobs.cli.setup import Setup
from beam_jobs.cli.terminal import GREEN, RED, YELLOW, painted
from beam_jobs.shown import shown

# As in the Makefile.
PYTHONS = ((3, 11), (3, 13))
# All are asked at the same time, so this is also how long all of it takes at most.
PATIENCE_S = 18.0
_REQUIREMENTS = Path(__file__).parents[1] / "requirements.txt"

# What is looked at, and how: the function returns what it found, or raises WrongError,
# NotAskedError, UnknownError or IdleError.
Check = tuple[str, Callable[[], str]]


def diagnose(setup: Setup, *, patience_s: float = PATIENCE_S) -> bool:
    """Print a line for each thing that is looked at, and return whether all of them are well.

    Args:
        setup: what to look for.
        patience_s: how long to wait for answers, in seconds.
    """
    looks = [(what, _begin(look)) for what, look in checks(setup)]
    deadline = time.monotonic() + patience_s
    unwell = 0
    everything = "everything works"
    for what, answer in looks:
        mark, colour = "WRONG", RED
        try:
            text = answer.result(max(0.0, deadline - time.monotonic()))
            mark, colour = "ok", GREEN
        except NotAskedError as error:
            text = f"not asked: {error}"
            mark, colour = "-", YELLOW
        except UnknownError as error:
            text = f"not known: {error}"
            mark, colour = "?", YELLOW
        except IdleError as error:
            text = str(error)
            mark, colour = "idle", YELLOW
            everything = "everything is there, but prompts wait: see above"
        except WrongError as error:
            text = str(error)
        except TimeoutError:
            text = f"no answer within {patience_s:.0f} s; check the address and the network"
        except Exception as error:  # of any library: it costs a line, not all that follow
            text = shortened(error)
        unwell += mark not in ("ok", "?", "idle")
        print(f"{painted(f'{mark:5}', colour, sys.stdout)} {shown(f'{what}: {text}')}")
        sys.stdout.flush()
    print(f"{unwell} of {len(looks)} lines need attention" if unwell else everything)
    return not unwell


def checks(setup: Setup) -> Iterator[Check]:
    """Yield what to look at, in the order in which one thing needs another."""
    yield "Python", _python
    for line in _REQUIREMENTS.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            yield requirement.name, partial(_package, requirement)
    found = endpoints(os.environ, setup.locations[0])
    for endpoint in found.values():
        yield endpoint.service, partial(_endpoint, endpoint, list(found.values()))
    services = Services(setup, found)
    yield "credentials", services.account
    yield "project", services.project
    for topic in setup.topics:
        yield f"topic {topic.name}", partial(services.topic, topic)
    for subscription in setup.subscriptions:
        yield f"subscription {subscription.name}", partial(services.subscription, subscription)
    yield f"bucket of {setup.images_url}", services.bucket
    yield f"stream {setup.stream} in {setup.region}", services.stream
    for location in setup.locations:
        yield f"model {setup.model} at {location}", partial(services.model, location)


def _begin(look: Callable[[], str]) -> "Future[str]":
    """Look in a thread that does not keep the process alive, as a client may never return."""
    future: Future[str] = Future()

    def run() -> None:
        try:
            future.set_result(look())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def _python() -> str:
    version = platform.python_version()
    if not PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        lowest, highest = (".".join(map(str, python)) for python in PYTHONS)
        raise WrongError(f"{version}, expected {lowest} to {highest}; make clean && make install")
    return version


def _package(requirement: Requirement) -> str:
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        version = "missing"
    if version == "missing" or version not in requirement.specifier:
        raise WrongError(f"{version}, expected {requirement.specifier}; make install")
    return version


def _endpoint(endpoint: Endpoint, all_endpoints: list[Endpoint]) -> str:
    if others := stand_ins_beside(endpoint, all_endpoints):
        raise WrongError(
            f"{endpoint}, but a stand-in is named by {', '.join(others)}; set {endpoint.variable} "
            "too, or unset the others"
        )
    return str(endpoint)
