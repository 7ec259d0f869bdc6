"""The page in Airflow: behind the login, with images that the web server's account can read."""

from collections.abc import Iterator

from verification.check import Check, DiffersError, Seen
from verification.visit import Visit

_PAGE = "/imagen/"
_PANELS = ("stream", "plots", "backfills", "dead-letters", "images?limit=1")


def _closed(visit: Visit) -> Seen:
    answer = visit.airflow.visit(_PAGE, logged_in=False)
    # Composer's proxy sends strangers to a login at another address.
    if 300 <= answer.status_code < 400:
        return Seen(f"HTTP {answer.status_code}, to a login")
    if answer.status_code not in (401, 403):
        raise DiffersError(f"HTTP {answer.status_code} for somebody without a login")
    return Seen(f"HTTP {answer.status_code}")


def _opens(visit: Visit) -> Seen:
    answer = visit.airflow.visit(_PAGE, logged_in=True)
    if answer.status_code != 200 or "<title>Imagen</title>" not in answer.text:
        raise DiffersError(f"HTTP {answer.status_code}, {answer.text[:100]!r}")
    for name in _PANELS:
        panel = visit.airflow.visit(f"{_PAGE}api/{name}", logged_in=True)
        if panel.status_code != 200:
            raise DiffersError(f"the panel {name}: HTTP {panel.status_code}")
        if error := panel.json().get("error"):
            raise DiffersError(f"the panel {name}: {error}")
    return Seen(f"the page and {len(_PANELS)} of its panels")


def _shows_images(visit: Visit) -> Seen:
    paths: list[str] = visit.known["images"]
    name = paths[0].partition("/images/")[2]
    answer = visit.airflow.visit(f"{_PAGE}images/{name}", logged_in=True)
    kind = answer.headers.get("content-type", "")
    if answer.status_code != 200 or not kind.startswith("image/"):
        raise DiffersError(f"HTTP {answer.status_code}, {kind or 'no type'}")
    return Seen(f"{kind} of {len(answer.content):,} bytes")


def checks() -> Iterator[Check]:
    """Yield those that need no image."""
    yield Check(
        name="page closed",
        believed="The page is behind Airflow's login.",
        where="plugins/imagen_ops/ui/access.py",
        expected="a refusal, or a way to the login",
        ask=_closed,
        needs=("dags",),
    )
    yield Check(
        name="page opens",
        believed="The page works behind Composer's proxy, and its panels can be read.",
        where="plugins/imagen_ops/ui/app.py",
        expected="the page, and panels without errors",
        ask=_opens,
        needs=("page closed",),
    )


def image_check() -> Check:
    """Return the one that needs an image."""
    return Check(
        name="page images",
        believed="The web server runs as an account that can read the bucket's images.",
        where="plugins/imagen_ops/ui/storage.py",
        expected="a picture",
        ask=_shows_images,
        needs=("page opens", "prompts"),
    )
