# shellcheck shell=bash
# What the scripts have in common; they source it. Each looks for all that it needs before it does
# anything, so that one run names all that is missing. Not to be run.

missing=""

lacks() { # WORDS…
  echo "error: $*" >&2
  missing=yes
}

all_is_there() {
  [ -z "$missing" ] || exit 1
}

# The comment at the head of the script that runs.
usage() {
  sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
  exit "$1"
}

on_google_cloud() {
  [ -z "${LOCALCLOUD-}" ]
}

need_environment() {
  if [ ! -x .venv/bin/python ]; then
    lacks ".venv is not there; make it with: make install"
    on_google_cloud || return 0
  fi
  # shellcheck source=scripts/00_set_environment.sh
  . scripts/00_set_environment.sh >/dev/null || missing=yes
}

# For Google's libraries: they publish, pull and submit as whom these belong to.
need_credentials() {
  command -v gcloud >/dev/null || return 0
  gcloud auth application-default print-access-token >/dev/null 2>&1 ||
    lacks "no application default credentials; get them with: gcloud auth application-default login"
}

need_gcloud() {
  if ! command -v gcloud >/dev/null; then
    lacks "gcloud is not installed; see https://cloud.google.com/sdk/docs/install"
    return
  fi
  gcloud auth print-access-token >/dev/null 2>&1 ||
    lacks "gcloud is not logged in; log in with: gcloud auth login"
}

# Which of the images (imagen-stream, imagen-backfill) there are with the tag, one per line.
# Not `images describe`: that asks Container Analysis too, which nothing else here needs.
built_images() {
  gcloud artifacts docker tags list "$REPOSITORY" --project="$PROJECT" \
    --format='value(image.basename(),tag.basename())' |
    awk -v tag="$IMAGE_TAG" '$2 == tag { print $1 }'
}
