#!/usr/bin/env bash
# Launches the streaming pipeline on Dataflow without Airflow: the same job that the DAG
# imagen_stream_start launches.
#
#   scripts/01_run_dataflow.sh
#   scripts/01_run_dataflow.sh --max_in_flight=32 --request_tier=flex
#   scripts/01_run_dataflow.sh --update       # replaces the running job in place
#
# Accepts all options of `python -m beam_jobs.stream`; they override those set here. Needs PROJECT and REGION,
# or LOCALCLOUD (see scripts/00_set_environment.sh); gcloud, logged in, with application default
# credentials; the image (scripts/build_image.sh); and `make install` with the image's Python version.
set -euo pipefail
if [ ! -f scripts/lib.sh ]; then
  echo "error: run this from the project's top directory, as scripts/${0##*/}" >&2
  exit 1
fi
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

# The workers must be able to unpickle what is pickled here.
need_python_of_the_image() {
  local here there
  [ -x .venv/bin/python ] || return 0
  here="$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
  # The Dockerfile's base image names the Python version.
  there="$(sed -n '/^FROM .*python[^ 0-9]*3\.[0-9]/{s/.*python[^ 0-9]*\(3\.[0-9]*\).*/\1/p;q;}' beam_jobs/Dockerfile)"
  [ "$here" = "$there" ] ||
    lacks "the image has Python ${there:-unknown, see beam_jobs/Dockerfile} and .venv has $here, so workers" \
      "can't read the pickled code; run: make clean && make install PYTHON=python${there:-3.11}"
}

need_image() {
  local built
  [ -z "$missing" ] || return 0
  if ! built="$(built_images)"; then
    lacks "can't read the registry $REPOSITORY (see above); terraform apply creates it"
  # Not a pipe: grep leaves at the first match, and pipefail would take the writer's SIGPIPE for "no".
  elif ! grep -qx imagen-stream <<<"$built"; then
    lacks "there is no image $REPOSITORY/imagen-stream:$IMAGE_TAG; build it with:" \
      "scripts/build_image.sh, or set IMAGE_TAG to an existing tag"
  fi
}

# Google's refusal doesn't contain the job ID. Beam's and the stand-in's do.
active_job() {
  local id
  id="$(sed -n 's/.*active job named [^ ]* with id:* \([0-9A-Za-z_-]*\).*/\1/p' "$log" | tail -n 1)"
  if [ -z "$id" ] && on_google_cloud; then
    id="$(gcloud dataflow jobs list --project="$PROJECT" --region="$REGION" --status=active \
      --filter="name=$STREAM_JOB_NAME" --format='value(id)' 2>/dev/null)" || true
  fi
  echo "${id:-JOB_ID}"
}

say_refused() { # JOB-ID
  cat <<EOF
error: a job named $STREAM_JOB_NAME is already active: $1
  To keep it, do nothing: it is processing prompts.
  To replace it in place:  scripts/01_run_dataflow.sh --update
  To end it first, drain it, then launch again when it has drained:
EOF
  if on_google_cloud; then
    echo "    gcloud dataflow jobs drain $1 --project=$PROJECT --region=$REGION"
  else
    echo "    curl -X PUT -H 'Content-Type: application/json' -d '{\"requestedState\": \"JOB_STATE_DRAINED\"}' \\"
    echo "      $DATAFLOW_ENDPOINT/v1b3/projects/$PROJECT/locations/$REGION/jobs/$1"
  fi
}

case "${1-}" in
  -h | --help) usage 0 ;;
esac
need_environment
if on_google_cloud; then
  need_gcloud
  need_credentials
  need_python_of_the_image
  need_image
fi
all_is_there

options=(
  --runner=DataflowRunner
  "--job_name=$STREAM_JOB_NAME"
  "--project=$PROJECT"
  "--region=$REGION"
  "--messages_subscription=projects/$PROJECT/subscriptions/$PROMPTS_SUBSCRIPTION"
  "--responses_topic=projects/$PROJECT/topics/$PREDICTIONS_TOPIC"
  "--dead_letter_topic=projects/$PROJECT/topics/$DEAD_LETTERS_TOPIC"
  "--images_output_location=gs://$BUCKET/images"
  "--canary_keys=gs://$BUCKET/keys/canary.json"
  "--model=$MODEL"
  "--temp_location=gs://$BUCKET/temp"
  "--staging_location=gs://$BUCKET/staging"
  "--sdk_container_image=$REPOSITORY/imagen-stream:$IMAGE_TAG"
  "--service_account_email=$WORKER_SERVICE_ACCOUNT"
  "--subnetwork=$WORKER_SUBNETWORK"
  --no_use_public_ips
  --enable_streaming_engine
  "--machine_type=$WORKER_MACHINE_TYPE"
  --num_workers=1
  "--max_num_workers=$MAX_WORKERS"
  --labels=app=imagen
)
console=https://console.cloud.google.com
if ! on_google_cloud; then
  options+=("--dataflow_endpoint=$DATAFLOW_ENDPOINT")
  console="$DATAFLOW_ENDPOINT"
fi

log="$(mktemp "${TMPDIR:-/tmp}/imagen-launch.XXXXXX")"
echo "Launching $STREAM_JOB_NAME in $PROJECT, $REGION; Beam's log is in $log"
if ! .venv/bin/python -m beam_jobs.stream "${options[@]}" "$@" >"$log" 2>&1; then
  if grep -q 'already \(an \)*active job named' "$log"; then
    say_refused "$(active_job)" >&2
  elif ! grep '^error: ' "$log" >&2; then
    tail -n 20 "$log" >&2
    echo "error: the job was not launched; Beam's full log is in $log" >&2
  fi
  exit 1
fi
id="$(sed -n 's/.*Submitted job: //p' "$log" | tail -n 1)"
rm "$log"
cat <<EOF
Submitted: job $id
  watch it: $console/dataflow/jobs/$REGION/$id?project=$PROJECT
  try it:   scripts/publish_prompt.sh "A fox in the snow" && scripts/watch_predictions.sh --count 1
EOF
