# shellcheck shell=bash
# Sets the variables of a deployment that the scripts and Terraform need. Source it with bash or zsh,
# from the top directory:
#
#   export PROJECT=my-project REGION=us-central1
#   source scripts/00_set_environment.sh
#
# Variables that you have set stay. The others come from `terraform output`, if it belongs to the same
# project and region, or else from a default. To override one, export it and source this file again.
#
# If LOCALCLOUD is set to the state folder of stand-ins on this machine (`python -m localcloud`), all
# scripts use these. The stand-ins then decide the project, region, and bucket:
#
#   export LOCALCLOUD=.state/localcloud
#   source scripts/00_set_environment.sh
#
# Each time, this file first unsets what it set before (SCRIPTS_SET) and restores what it put aside
# (SCRIPTS_PUT_ASIDE), so nothing is left over from another project.

_imagen_take_back() {
  local line name value
  while IFS= read -r line; do
    name="${line%%=*}"
    [ -n "$name" ] || continue
    eval "value=\"\${$name-}\""
    # A different value is one that you have set since.
    if [ "$name=$value" = "$line" ]; then unset "$name"; fi
  done <<EOF
${SCRIPTS_SET-}
EOF
  while IFS= read -r line; do
    name="${line%%=*}"
    [ -n "$name" ] || continue
    if eval "[ -z \"\${$name+x}\" ]"; then export "${line?}"; fi
  done <<EOF
${SCRIPTS_PUT_ASIDE-}
EOF
  unset SCRIPTS_SET SCRIPTS_PUT_ASIDE
}

_imagen_set() { # NAME VALUE
  export "$1=$2"
  export SCRIPTS_SET="${SCRIPTS_SET-}$1=$2
"
}

_imagen_show() { # NAME WHERE-FROM
  local value
  eval "value=\"\$$1\""
  printf '  %-26s%s%s\n' "$1" "$value" "${2:+  ($2)}"
}

_imagen_from_terraform() { # NAME; sets value
  value=""
  case "$deployed" in
    *"
$1="*)
      value="${deployed#*"
$1="}"
      value="${value%%"
"*}"
      ;;
  esac
}

# Your own value wins, then Terraform's output, then the default.
_imagen_default() { # NAME DEFAULT
  local value
  eval "value=\"\${$1-}\""
  if [ -n "$value" ]; then
    export "${1?}"
    _imagen_show "$1" "set by you"
    return
  fi
  _imagen_from_terraform "$1"
  _imagen_set "$1" "${value:-$2}"
  _imagen_show "$1" "${value:+terraform output}"
}

# For variables that follow from others. A value that you have set is put aside.
_imagen_force() { # NAME VALUE
  local value
  eval "value=\"\${$1-}\""
  if [ -n "$value" ]; then
    export SCRIPTS_PUT_ASIDE="${SCRIPTS_PUT_ASIDE-}$1=$value
"
  fi
  _imagen_set "$1" "$2"
}

# Prints the output `environment` of composer.tf as lines of NAME=value, after an empty first line.
# Prints nothing if nothing is deployed.
_imagen_deployed() {
  command -v terraform >/dev/null 2>&1 || return 0
  [ -d .terraform ] || [ -f terraform.tfstate ] || return 0
  terraform output -json environment 2>/dev/null </dev/null | tr ',{}' '[\n*]' |
    sed -n -e '1s/.*//p' -e 's/^ *"\([A-Z_]*\)" *: *"\([^"]*\)" *$/\1=\2/p'
}

_imagen_wrong() {
  echo "error: $*" >&2
  wrong=yes
}

_imagen_stand_ins() {
  local lines line name value
  if [ ! -x .venv/bin/python ]; then
    _imagen_wrong ".venv doesn't exist; create it with: make install"
    return 1
  fi
  if ! lines="$(.venv/bin/python -m localcloud --state "$LOCALCLOUD" env 2>/dev/null)"; then
    _imagen_wrong "LOCALCLOUD is set, but no stand-ins run with the state folder $LOCALCLOUD; start them with:" \
      ".venv/bin/python -m localcloud --state '$LOCALCLOUD' up --detach (or: unset LOCALCLOUD)"
    return 1
  fi
  while IFS= read -r line; do
    name="${line#export }"
    name="${name%%=*}"
    eval "value=${line#export *=}"
    _imagen_force "$name" "$value"
  done <<EOF
$lines
EOF
  # As in localcloud/resources.py.
  _imagen_force PROJECT "$GOOGLE_CLOUD_PROJECT"
  _imagen_force REGION us-central1
  _imagen_force BUCKET "$PROJECT-imagen"
  value="${CLOUDSDK_API_ENDPOINT_OVERRIDES_DATAFLOW%/}"
  # Beam uses REST only for an endpoint whose host is localhost.
  _imagen_force DATAFLOW_ENDPOINT "http://localhost:${value##*:}"
  _imagen_show PROJECT "the stand-ins'"
  _imagen_show REGION "the stand-ins'"
  _imagen_show BUCKET "the stand-ins'"
  _imagen_show DATAFLOW_ENDPOINT "the stand-ins'"
}

_imagen_google_cloud() {
  local name value project region found="" first="" many=""
  # The variables that stand-ins set. Other endpoints of Google are accepted.
  for name in PUBSUB_EMULATOR_HOST STORAGE_EMULATOR_HOST GOOGLE_VERTEX_BASE_URL GCE_METADATA_HOST \
    GCE_METADATA_IP CLOUDSDK_API_ENDPOINT_OVERRIDES_DATAFLOW CLOUDSDK_API_ENDPOINT_OVERRIDES_MONITORING \
    CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS; do
    eval "value=\"\${$name-}\""
    case "$value" in
      "" | https://*.googleapis.com | https://*.googleapis.com/* | 169.254.169.254 | metadata.google.internal) ;;
      *)
        many="${found:+yes}"
        found="$found${found:+ }$name"
        first="${first:-$name is set to $value}"
        ;;
    esac
  done
  # One may be left over; several are set by the stand-ins' own `env`.
  if [ -n "$many" ]; then
    _imagen_wrong "this terminal points at stand-ins: export LOCALCLOUD=.state/localcloud, or the state folder that" \
      "they were started with; for Google Cloud, unset $found"
    return 1
  elif [ -n "$found" ]; then
    _imagen_wrong "$first, which is not Google Cloud: unset $found, or set LOCALCLOUD to the state folder of the stand-ins"
  fi
  deployed="$(_imagen_deployed)"
  _imagen_from_terraform PROJECT
  project="$value"
  _imagen_from_terraform REGION
  region="$value"
  if [ "${PROJECT:-$project}/${REGION:-$region}" != "$project/$region" ]; then
    if [ -n "$deployed" ]; then
      echo "note: terraform output belongs to $project in $region, so it is ignored"
    fi
    deployed=""
  fi
  [ -n "${PROJECT:-$deployed}" ] ||
    _imagen_wrong "PROJECT is not set; for example: export PROJECT=my-project"
  [ -n "${REGION:-$deployed}" ] ||
    _imagen_wrong "REGION is not set; for example: export REGION=us-central1"
  case "${PROJECT-}" in
    *[!a-z0-9-]*) _imagen_wrong "PROJECT: expected a project ID such as my-project, got $PROJECT" ;;
  esac
  case "${REGION-}" in
    *-*-* | *[!a-z0-9-]*) _imagen_wrong "REGION: expected a region such as us-central1, got $REGION" ;;
  esac
  [ -z "$wrong" ] || return 1
  _imagen_default PROJECT ""
  _imagen_default REGION ""
  _imagen_default NAME_PREFIX imagen
  _imagen_default BUCKET "$PROJECT-$NAME_PREFIX"
}

# The last commit that changed the contents of the images. So you can find the code of what runs, and
# other changes need no new images.
_imagen_commit() {
  local commit
  commit="$(git log -1 --abbrev=12 --format=%h -- beam_jobs custom 2>/dev/null)" || true
  if [ -z "$commit" ]; then
    echo "no-git"
    return
  fi
  if [ -n "$(git status --porcelain -- beam_jobs custom 2>/dev/null)" ]; then
    commit="$commit-dirty"
  fi
  echo "$commit"
}

_imagen_environment() {
  local wrong="" deployed="" topics=""
  _imagen_take_back
  if [ ! -f beam_jobs/stream.py ] || [ ! -f scripts/00_set_environment.sh ]; then
    _imagen_wrong "this isn't the project's top directory, which contains scripts/; change to it first"
    return 1
  fi
  if [ -n "${LOCALCLOUD-}" ]; then
    _imagen_stand_ins || return 1
    _imagen_default NAME_PREFIX imagen
    _imagen_default IMAGE_TAG local
  else
    _imagen_google_cloud || return 1
    _imagen_force GOOGLE_CLOUD_PROJECT "$PROJECT"
    _imagen_default IMAGE_TAG "$(_imagen_commit)"
  fi
  # As composer.tf names them: the first deployment's topics have no prefix.
  [ "$NAME_PREFIX" = imagen ] || topics="$NAME_PREFIX-"
  _imagen_default REPOSITORY "$REGION-docker.pkg.dev/$PROJECT/$NAME_PREFIX"
  _imagen_default PROMPTS_TOPIC "${topics}prompts"
  _imagen_default PROMPTS_SUBSCRIPTION "${topics}prompts-sub"
  _imagen_default PREDICTIONS_TOPIC "${topics}predictions"
  _imagen_default PREDICTIONS_SUBSCRIPTION "${topics}predictions-sub"
  _imagen_default DEAD_LETTERS_TOPIC "${topics}dead-letters"
  _imagen_default STREAM_JOB_NAME "$NAME_PREFIX-stream"
  _imagen_default CANARY_SUBSCRIPTION "${topics}canary-sub"
  _imagen_default DEAD_LETTERS_SUBSCRIPTION "${topics}dead-letters-sub"
  _imagen_default COMPOSER_ENVIRONMENT "$NAME_PREFIX"
  _imagen_default COMPOSER_SERVICE_ACCOUNT "$NAME_PREFIX-composer@$PROJECT.iam.gserviceaccount.com"
  _imagen_default MODEL "$(sed -n 's/.*"default_model": "\([^"]*\)".*/\1/p' beam_jobs/catalog.json)"
  _imagen_default WORKER_MACHINE_TYPE n2-standard-2
  _imagen_default MAX_WORKERS 2
  _imagen_default WORKER_SERVICE_ACCOUNT "$NAME_PREFIX-worker@$PROJECT.iam.gserviceaccount.com"
  _imagen_default WORKER_SUBNETWORK "regions/$REGION/subnetworks/$NAME_PREFIX"
  _imagen_default BUILD_SERVICE_ACCOUNT "$NAME_PREFIX-build@$PROJECT.iam.gserviceaccount.com"
  # Terraform cannot deploy to stand-ins, so its variables are not set there.
  if [ -z "${LOCALCLOUD-}" ]; then
    _imagen_force TF_VAR_project "$PROJECT"
    _imagen_force TF_VAR_region "$REGION"
    _imagen_force TF_VAR_name_prefix "$NAME_PREFIX"
    _imagen_force TF_VAR_bucket "$BUCKET"
    _imagen_force TF_VAR_image_tag "$IMAGE_TAG"
    _imagen_force TF_VAR_model "$MODEL"
    echo "  and for Terraform TF_VAR_project, _region, _name_prefix, _bucket, _image_tag and _model"
    case "$IMAGE_TAG" in
      *-dirty)
        echo "note: beam_jobs/ or custom/ has uncommitted changes; commit them before an image is built" ;;
    esac
  fi
}

_imagen_done() {
  unset -f _imagen_take_back _imagen_set _imagen_show _imagen_default _imagen_force
  unset -f _imagen_from_terraform
  unset -f _imagen_deployed _imagen_wrong _imagen_stand_ins _imagen_google_cloud _imagen_commit
  unset -f _imagen_environment _imagen_done
}

if [ -n "${BASH_VERSION-}" ] && ! (return 0 2>/dev/null); then
  echo "error: a script can't set variables of your shell; type: source scripts/00_set_environment.sh" >&2
  false
elif _imagen_environment; then
  _imagen_done
else
  _imagen_done
  return 1
fi
