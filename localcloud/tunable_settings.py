"""Reads and changes a stand-in's settings while it runs: GET and PATCH of `/localcloud`."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from localcloud import rest


def add_settings_routes(
    app: web.Application,
    settings: Any,
    counts: Callable[[], Mapping[str, Any]],
    path: str = "/localcloud",
) -> None:
    """Add a path to an app: GET returns `counts` and `settings`, PATCH changes settings.

    The body of a PATCH is a JSON object. It changes all the settings that it names, or none.

    Args:
        app: the stand-in's app.
        settings: a dataclass of numbers, booleans and texts.
        counts: returns counters of what has happened so far.
        path: the URL path.
    """

    def state() -> web.Response:
        return web.json_response({"counts": counts(), "settings": dataclasses.asdict(settings)})

    async def show(_: web.Request) -> web.Response:
        return state()

    async def change(request: web.Request) -> web.Response:
        try:
            update_settings(settings, await rest.json_object(request))
        except ValueError as error:
            refused = rest.ApiError(400, str(error))
            return web.json_response(refused.body(), status=refused.code)
        except rest.ApiError as error:
            return web.json_response(error.body(), status=error.code)
        return state()

    app.router.add_get(path, show)
    app.router.add_patch(path, change)


def update_settings(settings: Any, values: Mapping[str, Any]) -> None:
    """Change fields of a dataclass: all that `values` names, or none.

    Raises:
        ValueError: a setting does not exist, or a value is of another type or below 0, or is not
            one that the dataclass takes.
    """
    types = {
        field.name: type(getattr(settings, field.name)) for field in dataclasses.fields(settings)
    }
    for name, value in values.items():
        if name not in types:
            raise ValueError(f"unknown setting {name!r}; expected one of {', '.join(types)}")
        if isinstance(value, bool) and types[name] is bool:
            continue
        if isinstance(value, str) and types[name] is str:
            continue
        if types[name] is str:
            raise ValueError(f"setting {name!r}: expected a text, got {value!r}")
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
            raise ValueError(f"setting {name!r}: expected a number of at least 0, got {value!r}")
        if name == "error_status" and value not in rest.STATUSES:
            statuses = ", ".join(map(str, sorted(rest.STATUSES)))
            raise ValueError(f"setting {name!r}: expected one of {statuses}, got {value!r}")
    typed = {name: types[name](value) for name, value in values.items()}
    dataclasses.replace(settings, **typed)  # may have a check of its own
    for name, value in typed.items():
        setattr(settings, name, value)
