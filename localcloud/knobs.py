"""How a stand-in behaves, seen and changed while it runs: GET and PATCH of `/localcloud`."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from localcloud import rest


def add_knobs(
    app: web.Application,
    settings: Any,
    counts: Callable[[], Mapping[str, Any]],
    path: str = "/localcloud",
) -> None:
    """Let a path of an app tell `counts` and `settings`, and change the latter.

    A PATCH of it with a JSON object changes settings: all that it names, or none.

    Args:
        app: of the stand-in.
        settings: a dataclass of numbers and booleans.
        counts: called for what has happened so far.
        path: where.
    """

    def state() -> web.Response:
        return web.json_response({"counts": counts(), "settings": dataclasses.asdict(settings)})

    async def show(_: web.Request) -> web.Response:
        return state()

    async def change(request: web.Request) -> web.Response:
        try:
            update(settings, await rest.json_object(request))
        except ValueError as error:
            refused = rest.ApiError(400, str(error))
            return web.json_response(refused.body(), status=refused.code)
        except rest.ApiError as error:
            return web.json_response(error.body(), status=error.code)
        return state()

    app.router.add_get(path, show)
    app.router.add_patch(path, change)


def update(settings: Any, values: Mapping[str, Any]) -> None:
    """Change some fields of a dataclass of numbers and booleans: all of them, or none.

    Raises:
        ValueError: there is no such setting, or the value is no number of 0 or more.
    """
    types = {
        field.name: type(getattr(settings, field.name)) for field in dataclasses.fields(settings)
    }
    for name, value in values.items():
        if name not in types:
            raise ValueError(f"no setting {name!r}; there are {', '.join(types)}")
        if isinstance(value, bool) and types[name] is bool:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
            raise ValueError(f"setting {name!r}: expected a number of 0 or more, got {value!r}")
        if name == "error_status" and value not in rest.STATUSES:
            raise ValueError(f"setting {name!r}: expected one of {sorted(rest.STATUSES)}")
    for name, value in values.items():
        setattr(settings, name, types[name](value))
