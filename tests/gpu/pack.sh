#!/usr/bin/env bash
# Builds what tests/gpu/check.py checks on a machine with a GPU, stripped and packed:
#
#   tests/gpu/pack.sh OUT
#
# OUT then holds sconce.xz, sconce-worker.xz (feature `cuda`) and device-tests.xz, the kernels' own tests. Needs a Rust toolchain,
# a C compiler, binutils, xz and what kernels/toolkit.sh needs; no GPU. The first build takes long.
#
#   CARGO_TARGET_DIR    where Rust is built (default target); what needs CUDA is built in a folder `cuda` of it
#   CUDA_COMPUTE_CAP    which GPUs to build for (default 90, Hopper)
set -euo pipefail
shopt -s inherit_errexit

# Of the server and its worker together, packed.
bytes_max=40000000

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
if (($# != 1)); then
    echo "usage: tests/gpu/pack.sh OUT" >&2
    exit 2
fi
mkdir -p "$1"
out=$(cd "$1" && pwd)
cd "$root"
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")

# pack PROGRAM NAME: strips a copy and packs it.
pack() {
    strip -o "$out/$2" "$1"
    xz --force -9 --threads 0 "$out/$2"
}

# Where the CPU's worker lies beside the server, this one must not take its place.
build_for_cuda() { cargo "$@" --release --locked --features cuda --target-dir "$target/cuda"; }

# Builds the kernels' tests and prints where they are.
device_tests() {
    build_for_cuda test --no-run --package sconce-kernels --test device --message-format json |
        python3 -c '
import json, sys
built = [json.loads(line) for line in sys.stdin]
print(next(each["executable"] for each in built if each.get("executable") and each["target"]["name"] == "device"))'
}

cargo build --release --locked --package sconce --target-dir "$target"
pack "$target/release/sconce" sconce
environment=$(kernels/toolkit.sh)
eval "$environment"
build_for_cuda build --package sconce-worker
pack "$target/cuda/release/sconce-worker" sconce-worker
tests=$(device_tests)
pack "$tests" device-tests

ls -l "$out"
bytes=$(cat "$out/sconce.xz" "$out/sconce-worker.xz" | wc -c)
if ((bytes > bytes_max)); then
    echo "server and worker have $bytes bytes, packed, and may have $bytes_max" >&2
    exit 1
fi
echo "server and worker: $bytes bytes"
