#!/usr/bin/env bash
# Builds the libraries that a worker for GPUs needs, with the host for a device: build.sh OUT
#
# A process that finds them first, by LD_LIBRARY_PATH=OUT, computes on "the host".
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
out=$1
mkdir -p "$out"

# library NAME SOURCE…: its symbols have the versions of NVIDIA's, which are named like the library; the driver's have none.
library() {
    local file=$1
    shift
    local versions="$out/$file.map"
    [[ $file == libcuda.so.1 ]] && echo '{ global: *; };' >"$versions" || echo "$file { global: *; };" >"$versions"
    "${CXX:-g++}" -std=c++17 -O2 -ftree-vectorize -Wall -Wextra -Wno-unknown-pragmas -fPIC -shared -fvisibility=hidden \
        -o "$out/$file" "$@" "-Wl,-soname,$file" "-Wl,--version-script=$versions"
}

library libcuda.so.1 "$here"/{driver,memory,streams,candle}.cpp "$here/../../kernels/cuda/host/fibers.cpp"
library libcublas.so.13 "$here/cublas.cpp" -L"$out" -l:libcuda.so.1
library libcurand.so.10 "$here/curand.cpp"
