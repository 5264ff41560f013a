#!/bin/sh
# Tests and measurements on a GPU in one call, also without make: PYTHON=python3 sh tests/gpu/run.sh [folder of results]
# ACCELERATOR=cpu tries the scripts themselves on a machine without a GPU.
set -u
cd "$(dirname "$0")/../.." || exit 1
python=${PYTHON:-.venv/bin/python}
results=${1:-outputs/gpu}
mkdir -p "$results"
export CUBLAS_WORKSPACE_CONFIG=:4096:8 ACCELERATOR="${ACCELERATOR:-cuda}" PYTHONUNBUFFERED=1
"$python" -m pytest -q -rfE -p no:cacheprovider --durations=15 tests/gpu --junitxml="$results/tests.xml"
tests=$?
"$python" -m tests.bench.gpu --output "$results/bench.json"
bench=$?
echo "exit codes: tests $tests, bench $bench; results in $results"
[ "$tests" -eq 0 ] && [ "$bench" -eq 0 ]
