#!/usr/bin/env bash
# Builds the jobs' images (imagen-stream, imagen-backfill, and imagen-prefetch-import) with Cloud Build,
# and pushes them to the registry with the tag IMAGE_TAG. The default tag is the last commit that changed
# their contents. A tag is never overwritten.
#
#   scripts/build_image.sh
#   IMAGE_TAG=try-3 scripts/build_image.sh       # from this folder, including uncommitted changes
#   BUILD_REGION=us-west2 scripts/build_image.sh # some projects may build in a few regions only, see
#                                                # https://cloud.google.com/build/docs/locations
#
# Needs PROJECT and REGION (see scripts/00_set_environment.sh); gcloud, logged in; the registry, bucket,
# and service account that `terraform apply` creates; and `make install`. For stand-ins (LOCALCLOUD)
# there is nothing to build.
set -euo pipefail
if [ ! -f scripts/lib.sh ]; then
  echo "error: run this from the project's top directory, as scripts/${0##*/}" >&2
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
  echo "Nothing to build: the local Dataflow runs the code in this folder."
  exit 0
fi
need_gcloud
case "${SCRIPTS_SET-}" in
  *IMAGE_TAG=*-dirty*)
    lacks "beam_jobs/ or custom/ has uncommitted changes, but an image should come from a commit: commit them, or" \
      "choose a tag yourself, for example: IMAGE_TAG=try-3 scripts/build_image.sh" ;;
  *IMAGE_TAG=no-git*)
    lacks "this isn't a git checkout: choose a tag, for example: export IMAGE_TAG=release-7" ;;
esac
all_is_there
built="$(built_images)" ||
  lacks "can't read the registry $REPOSITORY (see above); terraform apply creates it"
gcloud storage buckets describe "gs://$BUCKET" --format='value(name)' >/dev/null ||
  lacks "can't read the bucket gs://$BUCKET (see above); terraform apply creates it"
all_is_there

next="Next:
  source scripts/00_set_environment.sh && terraform apply     # the templates name $IMAGE_TAG
  trigger the DAG imagen_stream_start with on_active: update  # or: scripts/01_run_dataflow.sh"
missing=""
for image in imagen-stream imagen-backfill imagen-prefetch-import; do
  grep -qx "$image" <<<"$built" || missing="yes"
done
if [ -z "$missing" ]; then
  printf '%s\n' "All images already exist: $REPOSITORY/…:$IMAGE_TAG." "$next"
  exit 0
elif [ -n "$built" ]; then
  lacks "only ${built//$'\n'/, }:$IMAGE_TAG exists, from an incomplete build, and tags are never overwritten:" \
    "choose another tag, for example: IMAGE_TAG=$IMAGE_TAG-2 scripts/build_image.sh"
  all_is_there
fi

gcloud builds submit . \
  --project="$PROJECT" \
  --region="${BUILD_REGION:-$REGION}" \
  --config=beam_jobs/cloudbuild.yaml \
  --substitutions="_REPOSITORY=$REPOSITORY,_TAG=$IMAGE_TAG,_BUCKET=$BUCKET" \
  --service-account="projects/$PROJECT/serviceAccounts/$BUILD_SERVICE_ACCOUNT" \
  --gcs-source-staging-dir="gs://$BUCKET/builds"
printf '%s\n' "Built $REPOSITORY/imagen-stream:$IMAGE_TAG, …/imagen-backfill, and …/imagen-prefetch-import." \
  "What they consist of: gs://$BUCKET/templates/sbom/$IMAGE_TAG/" "$next"
