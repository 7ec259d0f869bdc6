#!/usr/bin/env bash
# Builds the images of the jobs, imagen-stream and imagen-backfill, in Cloud Build and puts them into
# the registry under IMAGE_TAG: the last commit that changed what they hold, unless you set it. A tag is
# never overwritten.
#
#   scripts/build_image.sh
#   IMAGE_TAG=try-3 scripts/build_image.sh       # of what is in this folder, committed or not
#
# Needs PROJECT and REGION, as scripts/00_set_environment.sh says; gcloud, logged in; the registry, the
# bucket and the build's service account, which `terraform apply` makes; `make install`. On stand-ins
# (LOCALCLOUD) there is nothing to build.
set -euo pipefail
if [ ! -f scripts/lib.sh ]; then
  echo "error: run it from the project's top directory, as scripts/${0##*/}" >&2
  exit 1
fi
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

case "${1-}" in
  -h | --help) usage 0 ;;
  ?*) usage 2 >&2 ;;
esac
need_environment
if ! on_google_cloud; then
  all_is_there
  echo "Nothing to build: the local Dataflow runs the program from this folder."
  exit 0
fi
need_gcloud
case "${SCRIPTS_SET-}" in
  *IMAGE_TAG=*-dirty*)
    lacks "beam_jobs/ has uncommitted changes, and an image should be of a commit: commit them, or" \
      "name the image yourself, for example: IMAGE_TAG=try-3 scripts/build_image.sh" ;;
  *IMAGE_TAG=no-git*)
    lacks "this is no git checkout: name the image, for example: export IMAGE_TAG=release-7" ;;
esac
all_is_there
built="$(built_images)" ||
  lacks "the registry $REPOSITORY cannot be read (see above); terraform apply makes it"
gcloud storage buckets describe "gs://$BUCKET" --format='value(name)' >/dev/null ||
  lacks "the bucket gs://$BUCKET cannot be read (see above); terraform apply makes it"
all_is_there

next="Next:
  source scripts/00_set_environment.sh && terraform apply     # the templates name $IMAGE_TAG
  start the DAG imagen_stream_start with on_active: update    # or: scripts/01_run_dataflow.sh"
case "$built" in
  "") ;;
  *imagen-backfill*imagen-stream* | *imagen-stream*imagen-backfill*)
    printf '%s\n' "Both images are there already, as $REPOSITORY/…:$IMAGE_TAG." "$next"
    exit 0 ;;
  *)
    lacks "only $built:$IMAGE_TAG is there, of a build that broke off, and no tag is overwritten:" \
      "name another, for example: IMAGE_TAG=$IMAGE_TAG-2 scripts/build_image.sh"
    all_is_there ;;
esac

gcloud builds submit . \
  --project="$PROJECT" \
  --region="$REGION" \
  --config=beam_jobs/cloudbuild.yaml \
  --substitutions="_REPOSITORY=$REPOSITORY,_TAG=$IMAGE_TAG" \
  --service-account="projects/$PROJECT/serviceAccounts/$BUILD_SERVICE_ACCOUNT" \
  --gcs-source-staging-dir="gs://$BUCKET/builds"
printf '%s\n' "Built $REPOSITORY/imagen-stream:$IMAGE_TAG and …/imagen-backfill:$IMAGE_TAG." "$next"
