#!/usr/bin/env bash
# import-linter 2.17: calling its `lint_imports` function disables loggers of the calling process.
#
# It configures logging with `dictConfig`, which disables every logger that exists by then, unless told
# otherwise.
#
# Seen: a logger that was created before the call is disabled after it.
#
# Why it matters: in a test run, a later test that expects a log line in the same process fails, and which
# one that is depends on the order of the tests.
#
# Instead: run the command `lint-imports` in a process of its own.
. "$(dirname "$0")/lib.sh"
packages "import-linter==${1:-2.17}"

mkdir -p "$work/shop"
touch "$work/shop/__init__.py" "$work/shop/prices.py"
cat >"$work/contracts.ini" <<'INI'
[importlinter]
root_package = shop

[importlinter:contract:1]
name = Prices stand alone
type = forbidden
source_modules = shop.prices
forbidden_modules = shop
allow_indirect_imports = True
as_packages = False
INI

cd "$work"
python - <<'PY'
import logging
import sys

sys.path.insert(0, ".")
from importlinter.cli import lint_imports

log = logging.getLogger("ours")
before = log.disabled
if lint_imports(config_filename="contracts.ini", no_cache=True) != 0:
    raise SystemExit("Changed: the contract is no longer kept, so nothing is shown.")
if before or not log.disabled:
    raise SystemExit(f"Changed: our logger's `disabled` was {before}, and is {log.disabled}.")
print("Still so: our logger is disabled after lint_imports.")
PY
