#!/usr/bin/env bash
# Airflow 3.3.1: every file below plugins/ is imported as a top-level module under its bare name.
#
# Seen: acme/calendar.py, a helper of the plugin acme_plugin.py, ran twice: as acme.calendar, when
# the plugin imported it, and as `calendar`, which replaced the standard library's module in
# sys.modules. With `acme/` in plugins/.airflowignore it ran once, and the plugin could still
# import it.
#
# Why it matters: module-level code runs twice, each class exists twice, and a helper named like a
# library breaks whatever imports that library next.
#
# Instead: list packages that aren't plugins themselves in plugins/.airflowignore.
. "$(dirname "$0")/lib.sh"
packages "apache-airflow-core==${1:-3.3.1}" sqlalchemy==2.1.9 \
  fastapi==0.136.3 starlette==1.10.0 cadwyn==7.0.0 pydantic==2.14.3

export AIRFLOW_HOME=$work AIRFLOW__CORE__LOAD_EXAMPLES=False
mkdir -p "$work/plugins/acme"
touch "$work/plugins/acme/__init__.py"
cat >"$work/plugins/acme/calendar.py" <<'PY'
import sys

names = sys.__dict__.setdefault("names_seen", [])
names.append(__name__)
PY
cat >"$work/plugins/acme_plugin.py" <<'PY'
import acme.calendar
from airflow.plugins_manager import AirflowPlugin


class AcmePlugin(AirflowPlugin):
    name = "acme"
PY
cat >"$work/look.py" <<'PY'
import calendar
import sys

from airflow import plugins_manager

library = calendar
plugins_manager.ensure_plugins_loaded()
plugins = [plugin["name"] for plugin in plugins_manager.get_plugin_info()]
print("plugin" if "acme" in plugins else "no plugin", *sorted(sys.names_seen), end=" ")
print("replaced" if sys.modules["calendar"] is not library else "kept")
PY
without=$(python "$work/look.py" | tail -n 1)
echo "acme/" >"$work/plugins/.airflowignore"
with=$(python "$work/look.py" | tail -n 1)

if [ "$without, $with" != "plugin acme.calendar calendar replaced, plugin acme.calendar kept" ]; then
  echo "Changed: acme/calendar.py was run as: $without; with .airflowignore: $with" >&2
  exit 1
fi
echo "Still so: acme/calendar.py was run as: $without; with .airflowignore: $with"
