"""Who may see the page, with Airflow's own auth manager, tokens and middleware."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest

from tests.plugins.imagen_ops.ui.conftest import PICTURE, Stored
from tests.plugins.imagen_ops.ui.test_pictures import DIGEST, PATH

pytestmark = pytest.mark.slow

SECRET = "a secret of sixty-four bytes or more, for the signatures of tests' tokens"
VALUES = {"name": "icon.svg", "path": PATH}
QUERIES = {"/api/record": f"?digest={DIGEST}"}


@dataclasses.dataclass
class Airflow:
    """The part of Airflow's app that matters to the page: the middleware and the mount."""

    http: Any
    manager: Any
    routes: list[Any]

    def token(self, role: str | None, seconds: int = 60) -> str:
        from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

        user = SimpleAuthManagerUser(username=f"{role}-user", role=role)
        return str(self.manager.generate_jwt(user, expiration_time_in_seconds=seconds))

    def get(self, path: str, token: str | None = None, method: str = "GET") -> Any:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return self.http.request(method, f"/imagen{path}", headers=headers, follow_redirects=False)

    @property
    def paths(self) -> list[str]:
        """A path for every route."""
        paths = (route.path_format.format(**VALUES) for route in self.routes)
        return [f"{path}{QUERIES.get(path, '')}" for path in paths]


@pytest.fixture(scope="module")
def _manager() -> Iterator[Any]:
    import airflow.models
    from airflow import settings
    from airflow.api_fastapi.app import init_auth_manager, purge_cached_app
    from airflow.models.base import Base

    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AIRFLOW__API_AUTH__JWT_SECRET", SECRET)
        environment.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", "admin:admin")
        airflow.models.import_all_models()
        names = ("revoked_token", "dag", "dag_bundle", "team", "dag_bundle_team")
        tables = [Base.metadata.tables[name] for name in names]
        Base.metadata.create_all(settings.engine, tables=tables)
        yield init_auth_manager()
        purge_cached_app()
        Base.metadata.drop_all(settings.engine, tables=tables)


@pytest.fixture
def airflow(_manager: Any, stored: Stored) -> Airflow:
    from airflow.api_fastapi.auth.middlewares.refresh_token import JWTRefreshMiddleware
    from fastapi import FastAPI
    from starlette.testclient import TestClient

    from imagen_ops.ui.build_page import build_page
    from imagen_ops.ui.lazy import LazyApp

    page = LazyApp(build_page)
    parent = FastAPI()
    parent.mount("/imagen", page)
    parent.add_middleware(JWTRefreshMiddleware)
    behind: Any = page._built()
    return Airflow(TestClient(parent), _manager, behind._app._app.routes)


def test_the_tests_below_cover_every_route(airflow: Airflow) -> None:
    assert {"/", "/api/stream", f"/images/{PATH}", "/assets/icon.svg"} <= set(airflow.paths)
    assert len(airflow.paths) == 17


def test_without_a_login_every_route_is_401_and_reads_nothing(
    airflow: Airflow, stored: Stored
) -> None:
    stored.picture(DIGEST)
    for path in airflow.paths:
        response = airflow.get(path)
        assert response.status_code == 401, path
        assert response.json() == {"detail": "Not authenticated"}
        assert "content-security-policy" in response.headers
    assert stored.requests == []


def test_a_user_who_may_not_read_the_dag_gets_403_everywhere(
    airflow: Airflow, stored: Stored
) -> None:
    nobody = airflow.token(None)
    for path in airflow.paths:
        assert airflow.get(path, nobody).status_code == 403, path
    assert stored.requests == []


@pytest.mark.parametrize("path", ["/nothing", "/docs", "/openapi.json", "/assets/no.js", "/api/"])
def test_missing_pages_need_a_login_too(airflow: Airflow, path: str) -> None:
    assert airflow.get(path).status_code == 401
    assert airflow.get(path, airflow.token("viewer")).status_code == 404


def test_routes_added_later_need_a_login_too(airflow: Airflow) -> None:
    from starlette.responses import PlainTextResponse
    from starlette.routing import Mount, Route

    airflow.routes += [
        Route("/later", lambda request: PlainTextResponse("seen")),
        Mount("/mounted", app=PlainTextResponse("seen")),
    ]
    for path in ("/later", "/mounted/a"):
        assert airflow.get(path).status_code == 401
        assert airflow.get(path, airflow.token("viewer")).text == "seen"


def test_every_route_is_read_only(airflow: Airflow) -> None:
    admin = airflow.token("admin")
    for route in airflow.routes:
        assert route.methods <= {"GET", "HEAD"}
    for path in airflow.paths:
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert airflow.get(path, admin, method).status_code == 405


@pytest.mark.parametrize("role", ["viewer", "user", "op", "admin"])
def test_whoever_may_read_the_dag_sees_everything(
    airflow: Airflow, stored: Stored, role: str
) -> None:
    stored.put(f"references/{stored.picture(DIGEST)}", PICTURE)
    token = airflow.token(role)
    for path in airflow.paths:
        assert airflow.get(path, token).status_code == 200, path


@pytest.mark.parametrize(
    ("role", "allowed"), [("viewer", False), ("user", True), ("op", True), ("admin", True)]
)
def test_airflow_decides_who_may_trigger(airflow: Airflow, role: str, allowed: bool) -> None:
    data = airflow.get("/api/actions", airflow.token(role)).json()["data"]
    assert [dag["allowed"] for dag in data["dags"]] == [allowed] * 5
    assert data["dags"][0]["url"] == "dags/imagen_stream_health"
    assert data["user"] == f"{role}-user"


def test_a_browser_logs_in_with_a_cookie(airflow: Airflow) -> None:
    airflow.http.cookies.set("_token", airflow.token("viewer"))
    assert airflow.get("/api/stream").status_code == 200
    airflow.http.cookies.set("_token", "forged")
    assert airflow.get("/api/stream").status_code == 403


def test_an_expired_login_is_refused(airflow: Airflow) -> None:
    ended = airflow.token("admin", seconds=-3600)
    for path in airflow.paths:
        assert airflow.get(path, ended).status_code == 401


def test_a_token_of_another_airflow_is_refused(airflow: Airflow, stored: Stored) -> None:
    import jwt

    claims = jwt.decode(airflow.token("admin"), options={"verify_signature": False})
    forged = jwt.encode(claims, SECRET[::-1], algorithm="HS512")
    unsigned = jwt.encode(claims, None, algorithm="none")
    for token in (forged, unsigned, "x", "null"):
        assert airflow.get("/api/stream", token).status_code == 403
    assert stored.requests == []


def test_an_image_that_a_browser_has_kept_ends_with_the_login(
    airflow: Airflow, stored: Stored
) -> None:
    stored.picture(DIGEST)
    airflow.http.cookies.set("_token", airflow.token("viewer"))
    shown = airflow.get(f"/images/{PATH}")
    assert shown.headers["cache-control"] == "private, no-cache", "asks before it shows it again"
    kept = {"If-None-Match": shown.headers["etag"]}
    assert airflow.http.get(f"/imagen/images/{PATH}", headers=kept).status_code == 304
    airflow.http.cookies.clear()
    assert airflow.http.get(f"/imagen/images/{PATH}", headers=kept).status_code == 401


def test_one_user_cannot_have_all_requests_in_progress(
    airflow: Airflow, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagen_ops.ui.access.MAX_REQUESTS_PER_USER", 0)
    refused = airflow.get("/", airflow.token("viewer"))
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "3")
    assert "the most that one user can have: try again in 3 s" in refused.json()["detail"]


def test_nobody_may_open_a_websocket(airflow: Airflow) -> None:
    from starlette.websockets import WebSocketDisconnect

    headers = {"Authorization": f"Bearer {airflow.token('admin')}"}
    with (
        pytest.raises(WebSocketDisconnect),
        airflow.http.websocket_connect("/imagen/api/stream", headers=headers),
    ):
        pass
