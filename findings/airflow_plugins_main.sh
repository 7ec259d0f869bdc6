#!/usr/bin/env bash
# Airflow 3.3.1: a file `__main__.py` below plugins/ runs as a program, and ends the process.
#
# Airflow imports each file below plugins/ as a module of its bare name. For this one that is
# `__main__`, so the part below `if __name__ == "__main__":` runs, with the arguments of whatever
# Airflow process it is. Airflow reports what goes wrong in a plugin and goes on, but SystemExit, with
# which most programs end, is no Exception (`_load_plugins_from_plugin_directory`).
#
# Seen: a process that only looks for plugins ended with the exit code of acme/__main__.py, before its
# next line. With an ignore file beside it, Airflow left the package alone and found the plugin.
#
# Why it matters: a package with a command line is useful beside the plugins, for what both share. If
# its files arrive before the ignore file, as in any upload of one file after the other, each task that
# starts in between ends with the usage of that command.
#
# Instead: don't upload `__main__.py`, or upload the ignore file first.
. "$(dirname "$0")/lib.sh"
packages "apache-airflow-core==${1:-3.3.1}" sqlalchemy==2.1.9 \
  fastapi==0.136.3 starlette==1.10.0 cadwyn==7.0.0 pydantic==2.14.3

export AIRFLOW_HOME=$work AIRFLOW__CORE__LOAD_EXAMPLES=False
mkdir -p "$work/plugins/acme"
touch "$work/plugins/acme/__init__.py"
cat >"$work/plugins/acme/__main__.py" <<'PY'
import sys

if __name__ == "__main__":
    print("ran with", *sys.argv[1:])
    sys.exit(7)
PY
cat >"$work/plugins/acme_plugin.py" <<'PY'
from airflow.plugins_manager import AirflowPlugin


class AcmePlugin(AirflowPlugin):
    name = "acme"
PY
cat >"$work/look.py" <<'PY'
from airflow import plugins_manager

plugins_manager.ensure_plugins_loaded()
print("found", *(plugin["name"] for plugin in plugins_manager.get_plugin_info()))
PY

# Prints the last line and the exit code of a process that looks for plugins.
look() {
  local said code=0
  said=$(python "$work/look.py" --of-airflow) || code=$?
  echo "$(tail -n 1 <<<"$said"), exit code $code"
}
without=$(look)
echo "*" >"$work/plugins/acme/.airflowignore"
with=$(look)

if [ "$without; $with" != "ran with --of-airflow, exit code 7; found acme, exit code 0" ]; then
  echo "Changed: a process that looks for plugins: $without; with .airflowignore: $with" >&2
  exit 1
fi
echo "Still so: a process that looks for plugins: $without; with .airflowignore: $with"
