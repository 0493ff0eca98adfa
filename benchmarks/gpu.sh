#!/usr/bin/env bash
# All that needs a device, in five minutes or so: is it right, how fast does it compare
# images with averages, how long do a whole run, and the correlations, scores and poses
# of subtomograms take. What is found goes to a JSON file.
#
#     benchmarks/gpu.sh [FILE [DEVICE [IMAGES [SUBTOMOGRAMS]]]]
#
# Small sizes, on the processor, show that the script works:
#
#     benchmarks/gpu.sh small.json torch-cpu 240 600
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
export OPENBLAS_NUM_THREADS=1
"${PYTHON:-$here/../.venv/bin/python}" "$here/device.py" --file "${1:-gpu.json}" \
  --device "${2:-cuda}" --images "${3:-50000}" --subtomograms "${4:-20000}"
