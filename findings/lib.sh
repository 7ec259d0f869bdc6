# Sourced by the scripts in this folder. Makes a temporary folder, $work, which is removed at exit.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The caller's settings and credentials must not change the result.
for name in $(compgen -e | grep -E '^(AIRFLOW|CLOUDSDK|GCE|GOOGLE|PUBSUB|PYTHON|STORAGE)' || true); do
  unset "$name"
done
export NO_PROXY=127.0.0.1,localhost no_proxy=127.0.0.1,localhost

# Installs packages into $work/venv, which `python` belongs to from then on.
packages() {
  if [ ! -d "$work/venv" ]; then
    python3 -m venv "$work/venv"
    export PATH="$work/venv/bin:$PATH"
  fi
  if command -v uv >/dev/null; then
    uv pip install --quiet --python "$work/venv/bin/python" "$@"
  else
    python -m pip install --quiet --disable-pip-version-check --no-compile "$@"
  fi
}
