#!/usr/bin/env bash
# Uploads the DAGs, plugins, and beam_jobs/, which they import, to the bucket of an Airflow environment.
# `terraform apply` runs it when a file has changed. Only files of this project are replaced or removed, so the
# bucket can have others.
#
#   scripts/upload_to_airflow.sh BUCKET             # BUCKET without gs://
#   scripts/upload_to_airflow.sh BUCKET --remove    # removes them again
#
# Needs gcloud, logged in as somebody who may write to the bucket.
set -euo pipefail
if [ ! -f scripts/lib.sh ]; then
  echo "error: run this from the project's top directory, as scripts/${0##*/}" >&2
  exit 1
fi
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

case "${1-}/${2-}" in
  -h/* | --help/*) usage 0 ;;
  [a-z0-9]*/ | [a-z0-9]*/--remove) ;;
  *) usage 2 >&2 ;;
esac
need_gcloud
all_is_there
bucket="gs://$1"

if [ "${2-}" = --remove ]; then
  # The DAGs first, so that none is parsed without its plugins. What is gone already is no error.
  for dag in dags/*.py; do
    gcloud storage rm "$bucket/$dag" || echo "note: $bucket/$dag wasn't removed (see above)" >&2
  done
  for part in plugins/imagen_plugin.py plugins/imagen_settings.json "plugins/imagen_ops/**" "plugins/beam_jobs/**"; do
    gcloud storage rm "$bucket/$part" || echo "note: $bucket/$part wasn't removed (see above)" >&2
  done
  exit 0
fi

# Python's regular expressions. A folder of this project's own has what is here, and nothing else.
upload() { # FOLDER TO EXCLUDE
  gcloud storage rsync --recursive --delete-unmatched-destination-objects --exclude="$3" "$1" "$bucket/$2"
}
# Not __main__.py: until the ignore file beside it is there, Airflow imports every file as a module of its bare
# name, and one of that name runs as a program (findings/airflow_plugins_main.sh). Each task that is forked
# meanwhile would end with its usage.
upload beam_jobs plugins/beam_jobs '^(?!((?!__main__\.py$).*\.py|(.*/)?\.airflowignore|catalog\.json)$).*'
upload plugins/imagen_ops plugins/imagen_ops '^(?!(.*\.(py|html|css|js|svg|md)|(.*/)?\.airflowignore)$).*'
# The DAGs last: they import the others.
gcloud storage cp plugins/imagen_plugin.py "$bucket/plugins/"
gcloud storage cp dags/*.py "$bucket/dags/"
