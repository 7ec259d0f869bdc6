#!/usr/bin/env bash
# Writes the digest of each base image into beam_jobs/Dockerfile in place of its tag, and into bases.txt.
# cloudbuild.yaml runs it, in a copy of the folder. What is built does not depend on tags that move
# while it is built, and bases.txt says what it was built on. A digest that you write into the Dockerfile
# yourself, as python:3.11.15-slim-bookworm@sha256:…, is what is built on.
set -euo pipefail

images="$(sed -n 's/^FROM \([^ ]*:[^ ]*\) AS .*/\1/p' beam_jobs/Dockerfile)"
for image in $images; do
  docker pull --quiet "$image"
  digest="$(docker inspect --format='{{index .RepoDigests 0}}' "$image")"
  case "$digest" in
    *@sha256:?*) ;;
    *)
      echo "error: expected the digest of $image, got '$digest'" >&2
      exit 1 ;;
  esac
  sed -i "s|^FROM $image AS |FROM $digest AS |" beam_jobs/Dockerfile
  echo "$image $digest" >> bases.txt
done
