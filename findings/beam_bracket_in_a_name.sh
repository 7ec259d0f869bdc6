#!/usr/bin/env bash
# apache-beam 2.77.0: reading `x[1].txt` reads `x1.txt` instead.
#
# Every path is a glob, even one that names an existing file. The documentation of
# FileSystem.translate_pattern says that there is no way to quote metacharacters.
#
# Seen: ReadFromText("x[1].txt") returned the lines of x1.txt. A set of one character does quote
# it: "x[[]1].txt" returned the lines of x[1].txt.
#
# Why it matters: downloads and exports often have such names, and the job succeeds on the wrong
# file.
#
# Instead: replace each `[` in a literal name with `[[]`.
. "$(dirname "$0")/lib.sh"
packages "apache-beam==${1:-2.77.0}"

cd "$work"
mkdir files
echo "of x1.txt" >files/x1.txt
echo "of x[1].txt" >"files/x[1].txt"
python - <<'PY'
import pathlib
import warnings

import apache_beam as beam
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

warnings.simplefilter("ignore", FutureWarning)  # "Possible nested set", of x[[]1].txt


def lines(name):
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        pipeline | beam.io.ReadFromText(f"files/{name}") | beam.io.WriteToText("out")
    return [line for shard in pathlib.Path().glob("out-*") for line in shard.read_text().splitlines()]


seen = {name: lines(name) for name in ("x[1].txt", "x[[]1].txt")}
if seen != {"x[1].txt": ["of x1.txt"], "x[[]1].txt": ["of x[1].txt"]}:
    raise SystemExit(f"Changed: {seen}")
print(f"Still so: {seen}")
PY
