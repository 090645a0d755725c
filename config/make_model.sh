#!/usr/bin/env bash
# Train, convert and ship edge/bundles/simulated-glass: make_model.sh FOLDER_OF_THE_COMMANDS
# About 25 minutes on two cores. Everything on the way lies in out/, from where a stopped training is resumed.
set -euo pipefail
bin=${1:?expected the folder of the commands, such as .venv/bin}
cd "$(dirname "$0")/.."

data=out/glass
bundle=out/simulated-glass

rm -rf "$data"
"$bin/linewatch" simulate --dataset "$data" --frames 1400 --seed 1
resume=()
if [ -f "$bundle/training/checkpoint.npz" ]; then resume=(--resume); fi
"$bin/linewatch-train" fit config/train.glass.yaml --data "$data" --out "$bundle" "${resume[@]}"
"$bin/convert" "$bundle" --to onnxruntime
"$bin/linewatch-train" ship "$bundle" edge/bundles/simulated-glass
