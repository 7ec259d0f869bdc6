#!/usr/bin/env bash
# Prints the section of one version in CHANGELOG.md, for the notes of a release.
#
#   .github/release_notes.sh v1.2.0
#
# Fails if CHANGELOG.md has no such section, or if the section is empty.
set -euo pipefail
if [ ! -f CHANGELOG.md ]; then
  echo "error: run this from the project's top directory, as .github/${0##*/}" >&2
  exit 1
fi
if [ $# != 1 ]; then
  echo "usage: .github/release_notes.sh VERSION, for example: .github/release_notes.sh v1.2.0" >&2
  exit 2
fi
notes="$(awk -v heading="## [${1#v}]" '
  index($0, heading) == 1 { within = 1; next }
  within && /^## / { exit }
  within { print }
' CHANGELOG.md)"
if [ -z "${notes//[[:space:]]/}" ]; then
  echo "error: CHANGELOG.md has no section \"## [${1#v}]\" with text in it; write it, and tag that commit" >&2
  exit 1
fi
printf '%s\n' "$notes"
