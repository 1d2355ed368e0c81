#!/usr/bin/env bash
# Sets up a CUDA toolkit without root and without a GPU, and prints the environment that a build with it needs:
#
#   source <(kernels/toolkit.sh)
#
# The toolkit is that of requirements-cuda.txt, from PyPI, in a cache where a second run finds it. Needs python3 with venv and a
# C compiler. CUDA_COMPUTE_CAP says which GPUs to compile for (default 90, Hopper).
#
#   XDG_CACHE_HOME      where the cache goes (default ~/.cache)
set -euo pipefail
shopt -s inherit_errexit

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/sconce
mkdir -p "$cache"

# A CUDA home in the form that build scripts expect, out of what the packages unpack to.
lay_out() {
    local home=$1 packages=$2 library name
    mkdir -p "$home/lib64/stubs"
    for name in bin include nvvm; do ln -s "../site/nvidia/cu13/$name" "$home/$name"; done
    for library in "$packages"/nvidia/cu13/lib/*.so.*; do
        name=$(basename "$library")
        ln -s "../../site/nvidia/cu13/lib/$name" "$home/lib64/$name"
        ln -sf "$name" "$home/lib64/${name%%.so.*}.so"
    done
    ln -s ../../site/nvidia/cu13/lib/libcudart_static.a "$home/lib64/"
    ln -s ../../site/nvidia/cu13/lib/libcudadevrt.a "$home/lib64/"
}

# The driver's library comes with the driver. To link without one, this stands in for it: every function, empty.
stub_driver() {
    local home=$1
    grep -oE '\bcu[A-Z][A-Za-z0-9_]*' "$home/include/cuda.h" | sort -u | sed 's/.*/void &(void) {}/' >"$home/stub.c"
    cc -shared -fPIC -w -fno-builtin -Wl,-soname,libcuda.so.1 -o "$home/lib64/stubs/libcuda.so" "$home/stub.c"
    ln -s libcuda.so "$home/lib64/stubs/libcuda.so.1"
    rm "$home/stub.c"
}

make_toolkit() {
    local place=$1
    python3 -m venv "$place/venv" >&2
    "$place/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-compile \
        --target "$place/site" --requirement "$here/requirements-cuda.txt" >&2
    rm -r "$place/venv"
    lay_out "$place/home" "$place/site"
    stub_driver "$place/home"
    "$place/home/bin/nvcc" --version >&2
}

place=$cache/cuda-$(cat "$here/requirements-cuda.txt" "${BASH_SOURCE[0]}" | sha256sum | cut -c1-16)
if [[ ! -d $place ]]; then
    part=$(mktemp -d "$place.part.XXXXXX")
    trap 'rm -rf "$part"' EXIT
    make_toolkit "$part"
    # It gets its name only once it is whole; of two runs at once the first one's stays.
    mv -T "$part" "$place" 2>/dev/null || [[ -d $place ]]
fi

home=$place/home
cat <<END
export CUDA_HOME='$home'
export CUDA_PATH='$home'
export CUDA_COMPUTE_CAP='${CUDA_COMPUTE_CAP:-90}'
export PATH='$home/bin':"\$PATH"
export LIBRARY_PATH='$home/lib64:$home/lib64/stubs'\${LIBRARY_PATH:+":\$LIBRARY_PATH"}
END
