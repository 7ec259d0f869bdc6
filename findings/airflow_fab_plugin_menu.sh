#!/usr/bin/env bash
# Airflow 3.3.1 with FAB provider 3.10.2: the roles Viewer and User don't find a plugin in the menu.
#
# The UI builds the entries of plugins, such as `external_views`, from `GET /api/v2/plugins`. That
# needs the permission *can read on Plugins*, which of FAB's roles only Op and Admin have
# (apache/airflow issue 51299).
#
# Seen: the API answers 403 to Viewer and User, and 200 to Op and Admin. A user with Viewer and a
# role of that one permission (here: Reader) gets 200.
#
# Why it matters: most users never see a page that a plugin adds, and nothing says why.
#
# Instead: give people the page's own address, or a role with *can read on Plugins*. It shows them
# the names and sources of all plugins too.
. "$(dirname "$0")/lib.sh"
packages "apache-airflow-core==${1:-3.3.1}" apache-airflow-providers-fab==3.10.2 sqlalchemy==2.1.9 \
  fastapi==0.136.3 starlette==1.10.0 cadwyn==7.0.0 pydantic==2.14.3 flask==3.1.3

export AIRFLOW_HOME=$work AIRFLOW__CORE__LOAD_EXAMPLES=False AIRFLOW__CORE__PLUGINS_FOLDER=$work/plugins
export AIRFLOW__CORE__AUTH_MANAGER=airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager
export AIRFLOW__API_AUTH__JWT_SECRET=$(printf 'x%.0s' {1..64}) AIRFLOW__LOGGING__LOGGING_LEVEL=ERROR
mkdir "$work/plugins"
cat >"$work/plugins/fox_plugin.py" <<'PY'
from airflow.plugins_manager import AirflowPlugin


class FoxPlugin(AirflowPlugin):
    name = "fox"
    external_views = [{"name": "Fox", "href": "https://example.org", "destination": "nav"}]
PY
{
  airflow db migrate
  airflow roles create Reader
  for role in Viewer User Op Admin Reader; do
    airflow users create -u "$role" -f F -l L -e "$role@example.org" -r "$role" -p none
  done
  airflow users add-role -u Reader -r Viewer
  airflow roles add-perms Reader -a can_read -r Plugins
} >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }

python - <<'PY'
from airflow.api_fastapi.app import create_app
from starlette.testclient import TestClient

found = {}
with TestClient(create_app()) as client:
    for role in ("Viewer", "User", "Op", "Admin", "Reader"):
        login = client.post("/auth/token", json={"username": role, "password": "none"})
        headers = {"Authorization": f"Bearer {login.json()['access_token']}"}
        found[role] = client.get("/api/v2/plugins", headers=headers).status_code
expected = {"Viewer": 403, "User": 403, "Op": 200, "Admin": 200, "Reader": 200}
if found != expected:
    raise SystemExit(f"Changed: GET /api/v2/plugins answers {found}, not {expected}.")
print(f"Still so: GET /api/v2/plugins answers {found}.")
PY
