#!/usr/bin/env bash
# Publishes a prompt, or a file of prompts, to the topic that the stream reads.
#
#   scripts/publish_prompt.sh "A fox in the snow"
#   scripts/publish_prompt.sh "A fox in the snow" --images 2 --aspect-ratio 16:9
#   scripts/publish_prompt.sh --file prompts.csv
#
# Accepts all options of `python -m beam_jobs publish`. Needs PROJECT and REGION, or LOCALCLOUD (see
# scripts/00_set_environment.sh); gcloud's application default credentials; and `make install`.
set -euo pipefail
if [ ! -f scripts/lib.sh ]; then
  echo "error: run this from the project's top directory, as scripts/${0##*/}" >&2
  exit 1
fi
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

case "${1-}" in
  "") usage 2 >&2 ;;
  -h | --help) usage 0 ;;
esac
need_environment
if on_google_cloud; then need_gcloud; need_credentials; fi
all_is_there

exec .venv/bin/python -m beam_jobs publish --topic "$PROMPTS_TOPIC" "$@"
