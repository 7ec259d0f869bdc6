"""The metadata server that a machine on Google Cloud finds at 169.254.169.254.

With `GCE_METADATA_HOST` and `GCE_METADATA_IP` pointing at this app, `google.auth.default()` finds
credentials as it does in production, so that no code needs a branch for anonymous access. The
answers have the form that google-auth, gcloud-aio-auth, google-genai and Beam request. The keys are
listed at https://cloud.google.com/compute/docs/metadata/predefined-metadata-keys.
"""

import base64
import json
import secrets
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

TOKEN_SECONDS = 3599
"""Lifetime of an access token. Google's last an hour; clients refresh some minutes before that."""

SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
ZONE = "us-central1-a"
ROOT = "/computeMetadata/v1"

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def metadata_app(
    project: str,
    service_account: str = "imagen-worker@<project>.iam.gserviceaccount.com",
) -> web.Application:
    """Return the metadata server of a machine in `project` that runs as `service_account`.

    `<project>` in `service_account` is replaced by the project. Each app has a random token, which
    is never logged. As on the real server, every path except `/` answers 403 without the header
    `Metadata-Flavor: Google`, so that tests catch a client that forgets the header.
    """
    server = _MetadataServer(project, service_account.replace("<project>", project))
    app = web.Application(middlewares=[_metadata_flavor])
    app.router.add_get("/", server.root)
    app.router.add_get(f"{ROOT}/{{key:.*}}", server.value)
    app.router.add_get("/computeMetadata", server.root)
    accounts = f"{ROOT}/instance/service-accounts/{{account}}"
    # Agent identities request their token with POST and a certificate chain; the token is the same.
    app.router.add_post(f"{accounts}/token", server.value)
    return app


def project_number(project: str) -> int:
    """Return the number of a project: 12 digits, always the same for the same id."""
    return 100_000_000_000 + zlib.crc32(project.encode()) % 900_000_000_000


@web.middleware
async def _metadata_flavor(request: web.Request, handler: _Handler) -> web.StreamResponse:
    if request.path != "/" and request.headers.get("Metadata-Flavor") != "Google":
        response: web.StreamResponse = web.Response(
            status=403,
            text=f"{request.path} requires the header Metadata-Flavor: Google.\n",
        )
    else:
        try:
            response = await handler(request)
        except web.HTTPException as refusal:
            response = web.Response(status=refusal.status, text=f"{refusal.reason}\n")
    response.headers["Metadata-Flavor"] = "Google"
    response.headers["Server"] = "Metadata Server for VM"
    return response


class _MetadataServer:
    """The tree of values. A `dict` is a directory; a callable is evaluated for each request."""

    def __init__(self, project: str, email: str) -> None:
        self._email = email
        self._token = f"ya29.local-{secrets.token_urlsafe(48)}"
        number = project_number(project)
        account = {
            "aliases": ["default"],
            "email": email,
            "identity": self._identity,
            "scopes": list(SCOPES),
            "token": self._access_token,
        }
        self._tree: dict[str, Any] = {
            "instance": {
                "attributes": {},
                "hostname": f"localcloud.c.{project}.internal",
                "id": number,
                "name": "localcloud",
                "region": f"projects/{number}/regions/{ZONE.rpartition('-')[0]}",
                "service-accounts": {"default": account, email: account},
                "zone": f"projects/{number}/zones/{ZONE}",
            },
            "project": {
                "attributes": {},
                "numeric-project-id": number,
                "project-id": project,
            },
            "universe": {"universe-domain": "googleapis.com", "universeDomain": "googleapis.com"},
        }

    async def root(self, request: web.Request) -> web.Response:
        """Answer the ping by which `google.auth` detects that it runs on Google Cloud."""
        return web.Response(text="computeMetadata/\n", content_type="application/text")

    async def value(self, request: web.Request) -> web.Response:
        """Answer with a value, a directory, or with `recursive=true` a whole subtree as JSON."""
        path = request.path.removeprefix(ROOT)
        node: Any = self._tree
        for step in filter(None, path.split("/")):
            if not isinstance(node, dict) or step not in node:
                raise web.HTTPNotFound
            node = node[step]
        if callable(node):
            return self._text_or_json(node(request.query))
        if not isinstance(node, dict):
            as_json = request.query.get("alt") == "json"
            return _json(node) if as_json else self._text_or_json(node)
        if request.query.get("recursive", "").lower() == "true":
            if request.query.get("alt") == "text":
                raise web.HTTPBadRequest(reason="Ask for a directory with alt=json")
            return _json(_static(node))
        names = (f"{name}/" if isinstance(below, dict) else name for name, below in node.items())
        return web.Response(
            text="".join(f"{name}\n" for name in names), content_type="application/text"
        )

    @staticmethod
    def _text_or_json(value: Any) -> web.Response:
        if isinstance(value, dict):
            return _json(value)
        text = "".join(f"{line}\n" for line in value) if isinstance(value, list) else str(value)
        return web.Response(text=text, content_type="application/text")

    def _access_token(self, query: Mapping[str, str]) -> dict[str, Any]:
        return {
            "access_token": self._token,
            "expires_in": TOKEN_SECONDS,
            "token_type": "Bearer",
        }

    def _identity(self, query: Mapping[str, str]) -> str:
        """Return a JWT of the right form for `audience`, with a random signature."""
        if not query.get("audience"):
            raise web.HTTPBadRequest(reason="non-empty audience parameter required")
        now = int(time.time())
        claims: dict[str, Any] = {
            "aud": query["audience"],
            "azp": self._email,
            "exp": now + TOKEN_SECONDS,
            "iat": now,
            "iss": "https://accounts.google.com",
            "sub": str(zlib.crc32(self._email.encode())),
        }
        if query.get("format") == "full":
            claims |= {"email": self._email, "email_verified": True}
        header = {"alg": "RS256", "kid": "localcloud", "typ": "JWT"}
        parts = [json.dumps(header).encode(), json.dumps(claims).encode(), secrets.token_bytes(256)]
        return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def _static(node: Any) -> Any:
    """Return a directory without its callables: a recursive request must not return tokens."""
    if isinstance(node, dict):
        return {name: _static(below) for name, below in node.items() if not callable(below)}
    return node


def _json(value: Any) -> web.Response:
    return web.Response(body=json.dumps(value).encode(), content_type="application/json")
