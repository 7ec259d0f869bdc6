#!/usr/bin/env bash
# Checks, after `terraform apply` and scripts/build_image.sh, whether Google Cloud does what this project
# believes of it: roles, launches, prompts, costs, quota, backfills, metrics, alerts, and the page.
#
#   scripts/02_verify_deployment.sh --dry-run           # what it checks, and what that costs at most
#   scripts/02_verify_deployment.sh
#   scripts/02_verify_deployment.sh --only 'role *'     # some checks, and what they need
#
# It starts, updates, and drains the stream, so it wants a deployment in which none runs. It makes about 25
# images, and takes about half an hour. The report is in verification.json and verification.md. Exit
# code: 0 if everything is as believed, 1 if anything differs, 3 if something could not be asked.
#
# Needs PROJECT and REGION, or LOCALCLOUD (see scripts/00_set_environment.sh); gcloud's application default
# credentials, of somebody with roles/iam.serviceAccountTokenCreator on the three service accounts; and
# `make install`. Beside stand-ins, AIRFLOW_URL and AIRFLOW_TOKEN name the Airflow.
set -euo pipefail
if [ ! -f scripts/lib.sh ]; then
  echo "error: run this from the project's top directory, as scripts/${0##*/}" >&2
  exit 1
fi
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

case "${1-}" in
  -h | --help) usage 0 ;;
esac
need_environment
if on_google_cloud; then need_gcloud; need_credentials; fi
all_is_there

exec .venv/bin/python -m verification "$@"
