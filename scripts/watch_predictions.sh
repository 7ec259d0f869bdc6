#!/usr/bin/env bash
# Shows predictions as they arrive on the subscription predictions-sub, and acknowledges each one after
# showing it. If another program consumes that subscription, watch without acknowledging instead:
# .venv/bin/python -m beam_jobs watch
#
#   scripts/watch_predictions.sh
#   scripts/watch_predictions.sh --count 2 --seconds 60
#
# Needs PROJECT and REGION, or LOCALCLOUD (see scripts/00_set_environment.sh); gcloud's application
# default credentials; and `make install`.
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

exec .venv/bin/python -m beam_jobs watch --subscription "$PREDICTIONS_SUBSCRIPTION" "$@"
