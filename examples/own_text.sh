#!/usr/bin/env bash
# From a file of your own text to a served model: splits off a part to measure on, trains, serves.
#
#   examples/own_text.sh my-text.txt runs/mine
#
# Further arguments go to the training. Set PORT to serve elsewhere than on 8000.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

[ $# -ge 2 ] || { echo "usage: ${0##*/} TEXT OUT [training options]" >&2; exit 2; }
text=$1 out=$2
shift 2

# The last twentieth is never trained on: what the model says of it is how good the model is.
lines=$(wc -l < "$text")
held=$((lines / 20 + 1))
mkdir -p "$out.text"
head -n "-$held" "$text" > "$out.text/train.txt"
tail -n "$held" "$text" > "$out.text/valid.txt"

make train CORPUS="$out.text/train.txt" VALID="$out.text/valid.txt" OUT="$out" ARGS="$*"
echo
echo "serving $out; try: curl -s localhost:${PORT:-8000}/v1/models"
exec make serve MODEL="$out" PORT="${PORT:-8000}"
