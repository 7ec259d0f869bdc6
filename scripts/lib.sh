# shellcheck shell=bash
# Functions that the scripts share. The scripts source this file; don't run it. Each script first checks
# everything that it needs, so that one run names all that is missing.

missing=""

lacks() { # WORDS…
  echo "error: $*" >&2
  missing=yes
}

all_is_there() {
  [ -z "$missing" ] || exit 1
}

# Prints the comment at the top of the running script.
usage() {
  sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
  exit "$1"
}

on_google_cloud() {
  [ -z "${LOCALCLOUD-}" ]
}

need_environment() {
  if [ ! -x .venv/bin/python ]; then
    lacks ".venv doesn't exist; create it with: make install"
    on_google_cloud || return 0
  fi
  # shellcheck source=scripts/00_set_environment.sh
  if ! . scripts/00_set_environment.sh >/dev/null; then
    # What else Google Cloud needs is beside the point in a terminal that points at stand-ins.
    if on_google_cloud && [ -n "${PUBSUB_EMULATOR_HOST-}" ]; then exit 1; fi
    missing=yes
  fi
}

# Google's libraries publish, pull, and submit with these credentials.
need_credentials() {
  command -v gcloud >/dev/null || return 0
  gcloud auth application-default print-access-token >/dev/null 2>&1 ||
    lacks "there are no application default credentials; create them with: gcloud auth application-default login"
}

need_gcloud() {
  if ! command -v gcloud >/dev/null; then
    lacks "gcloud isn't installed; see https://cloud.google.com/sdk/docs/install"
    return
  fi
  gcloud auth print-access-token >/dev/null 2>&1 ||
    lacks "gcloud isn't logged in; run: gcloud auth login"
}

# Prints which of the images (imagen-stream and so on) exist with the tag, one per line. Doesn't use
# `images describe`, which also needs the Container Analysis API.
built_images() {
  gcloud artifacts docker tags list "$REPOSITORY" --project="$PROJECT" \
    --format='value(image.basename(),tag.basename())' |
    awk -v tag="$IMAGE_TAG" '$2 == tag { print $1 }'
}
