#!/usr/bin/env bash
# Runs every check and test of the repository, cheap ones first, and stops at the first that fails.
#
#   tests/all.sh                 every step
#   tests/all.sh STEP...         only these, in this order
#   tests/all.sh --list          names the steps
#
# Needs a Rust toolchain, C and C++ compilers with their sanitizers, and python3 with venv; fetches the rest (Python
# packages, tools and a CUDA toolkit from PyPI, promtool from Debian) into a cache, where a second run finds it.
#
#   XDG_CACHE_HOME      where the cache goes (default ~/.cache)
#   CARGO_TARGET_DIR    where Rust is built (default in the cache, so that a fresh clone starts warm)
#   SCONCE_BIN          a built server to test from Python, its worker beside it, instead of the release build of this tree
set -euo pipefail
shopt -s inherit_errexit

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/sconce
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-auto} PYTHONDONTWRITEBYTECODE=1
# A build that starts cold gains nothing from incremental files and pays for them in disk.
if [[ -n ${CI:-} ]]; then export CARGO_INCREMENTAL=0; fi
cd "$root"
mkdir -p "$cache"

steps=(fmt shell docker deny clippy doc test kernels cuda build demo faults gpu host triton kserve bench export)

about() {
    case $1 in
        fmt) echo "Rust is formatted" ;;
        shell) echo "shell scripts pass shellcheck" ;;
        docker) echo "the Dockerfile passes hadolint" ;;
        deny) echo "dependencies: licences, sources, bans" ;;
        clippy) echo "Rust passes clippy" ;;
        doc) echo "the documentation builds without warnings" ;;
        test) echo "Rust tests" ;;
        kernels) echo "kernels on the host against their twins, under sanitizers" ;;
        cuda) echo "the worker for GPUs and its kernels compile; nothing is run on one" ;;
        build) echo "release build" ;;
        demo) echo "the demo's accuracies are the committed ones" ;;
        faults) echo "a worker that is killed, frozen and fed garbage under load costs no client an answer" ;;
        gpu) echo "the check for machines with a GPU, on the worker that computes on the CPU" ;;
        host) echo "the worker for GPUs, whole, with a CUDA driver whose device is the host" ;;
        triton) echo "tritonclient, health, deadlines, metrics and hostile clients against the real server" ;;
        kserve) echo "the kserve client against the real server" ;;
        bench) echo "sconce bench against a real Triton" ;;
        export) echo "models against the libraries they come from: torch, transformers, timm; hostile model folders" ;;
        *) return 1 ;;
    esac
}

# --- set-up -----------------------------------------------------------------------------------------------------------

say() { printf '%s\n' "$*" >&2; }

# cached PLACE COMMAND...: makes the folder PLACE by `COMMAND... PART`, unless it is there. PART gets its name only once
# it is whole: a broken set-up is never used again, and two runs at once do not meet.
cached() {
    local place=$1 part
    shift
    if [[ -d $place ]]; then return; fi
    part=$(mktemp -d "$place.part.XXXXXX")
    if ! "$@" "$part"; then
        rm -rf "$part"
        say "set-up failed: $*"
        return 1
    fi
    mv -T "$part" "$place" 2>/dev/null || rm -rf "$part"
}

as_root() {
    if [[ $(id -u) == 0 ]]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo -n "$@"
    else
        say "needs root: $*"
        return 1
    fi
}

# venv REQUIREMENTS: prints the Python of a virtual environment that holds exactly these packages.
venv() {
    local place
    place=$cache/venv-$(sha256sum "$1" | cut -d' ' -f1)
    cached "$place" make_venv "$1"
    echo "$place/bin/python"
}

make_venv() {
    # Debian ships `venv` without the part that installs pip; python3-venv brings it.
    if ! python3 -m venv "$2" >&2; then
        as_root apt-get install -y -qq python3-venv >&2 || as_root apt-get update -qq >&2
        as_root apt-get install -y -qq python3-venv >&2 && python3 -m venv --clear "$2" >&2 || return 1
    fi
    "$2/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$1" >&2
}

# tool NAME: prints the path of a program from tests/python/requirements-tools.txt.
tool() {
    local python
    python=$(venv tests/python/requirements-tools.txt)
    echo "$(dirname "$python")/$1"
}

# Prints the path of promtool: the one on PATH, or Debian's, unpacked but not installed.
promtool_path() {
    command -v promtool && return
    local place
    place=$cache/promtool-$(uname -m)
    cached "$place" make_promtool
    echo "$place/usr/bin/promtool"
}

make_promtool() (
    cd "$1" || return 1
    apt-get download prometheus >&2 || { as_root apt-get update -qq >&2 && apt-get download prometheus >&2; } || return 1
    dpkg -x prometheus_*.deb . && rm prometheus_*.deb && ./usr/bin/promtool --version >&2
)

# component NAME: a part of the Rust toolchain that minimal installations leave out.
component() {
    if ! cargo "${1#rust}" --version >/dev/null 2>&1; then rustup component add "$1" >&2; fi
}

# release ARGUMENTS...: the server and, beside it, its worker.
release() { cargo build --release --locked --package sconce --package sconce-worker "$@"; }

# Prints the path of the server under test.
server_path() {
    if [[ -n ${SCONCE_BIN:-} ]]; then
        echo "$SCONCE_BIN"
    else
        release --quiet >&2
        echo "$CARGO_TARGET_DIR/release/sconce"
    fi
}

# --- steps ------------------------------------------------------------------------------------------------------------

step_fmt() {
    component rustfmt
    cargo fmt --all --check
}

step_shell() {
    local shellcheck
    shellcheck=$(tool shellcheck)
    find . -name '*.sh' -not -path './.git/*' -print0 | xargs -0 "$shellcheck" .ci/run
}

step_docker() {
    local hadolint
    hadolint=$(tool hadolint)
    "$hadolint" Dockerfile
}

step_deny() {
    local deny
    deny=$(tool cargo-deny)
    "$deny" --locked check --hide-inclusion-graph bans licenses sources
}

step_clippy() {
    component clippy
    cargo clippy --locked --workspace --all-targets -- -D warnings
}

step_doc() {
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --document-private-items
}

step_test() { cargo test --locked --workspace; }

step_kernels() {
    local runner
    # The sanitizer must be loaded before everything else, but not into cargo.
    runner=CARGO_TARGET_$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')_RUNNER
    env SCONCE_SANITIZE=1 "$runner=env ASAN_OPTIONS=detect_leaks=0 LD_PRELOAD=$(cc -print-file-name=libasan.so)" \
        cargo test --locked -p sconce-kernels --lib --tests
}

step_cuda() {
    local environment
    component clippy
    environment=$(kernels/toolkit.sh)
    eval "$environment"
    cargo clippy --locked -p sconce-kernels -p sconce-worker --features cuda --all-targets -- -D warnings
    # The driver is a stub: what is tested is that each kernel is there.
    LD_LIBRARY_PATH=$CUDA_HOME/lib64:$CUDA_HOME/lib64/stubs \
        cargo test --locked -p sconce-kernels --features cuda --lib --test device
}

step_build() { release; }

step_demo() {
    local server
    server=$(server_path)
    "$server" demo --once
}

step_faults() {
    local server
    server=$(server_path)
    "$server" demo --kill-device
}

# In a folder that goes with it: what is written there is looked at by page.py and by nobody else.
step_gpu() {
    local server python report
    server=$(server_path)
    python=$(venv tests/python/requirements-export.txt)
    report=$(mktemp -d)
    "$python" tests/gpu/check.py --bin "$(dirname "$server")" --device worker --quick --scratch "$report" --out "$report/report.json"
    "$python" tests/gpu/page.py "$report/report.json"
    rm -r "$report"
}

# Puts the server and the worker for GPUs into FOLDER, beside libraries that take the host for a device (tests/cuda), and has the
# kernels' own tests run on it.
on_host() {
    local environment server
    server=$(server_path)
    environment=$(kernels/toolkit.sh)
    (
        eval "$environment"
        cargo build --locked --package sconce-worker --features cuda
        tests/cuda/build.sh "$1"
        # CUDA's runtime is no driver, and stays NVIDIA's.
        cp "$CUDA_HOME/lib64/libcudart.so.13" "$1"
        LD_LIBRARY_PATH=$1 cargo test --locked --package sconce-kernels --features cuda --test device -- --ignored
    )
    cp "$server" "$CARGO_TARGET_DIR/debug/sconce-worker" "$1"
}

step_host() {
    local folder=$CARGO_TARGET_DIR/on-host python
    on_host "$folder"
    python=$(venv tests/python/requirements-export.txt)
    LD_LIBRARY_PATH=$folder SCONCE_BIN=$folder/sconce \
        "$python" -m pytest -p no:cacheprovider tests/python/test_cuda_worker.py
    "$python" tests/gpu/check.py --bin "$folder" --device cuda --pytorch cpu --libraries "$folder" --quick \
        --models bert,modernbert,vit,resnet,tabular
}

# against_server REQUIREMENTS PYTEST-ARGUMENTS...: tests from Python, with the server under test in SCONCE_BIN and its worker beside it.
against_server() {
    local requirements=$1 server python
    shift
    server=$(server_path)
    python=$(venv "tests/python/requirements-$requirements.txt")
    SCONCE_BIN=$server "$python" -m pytest -p no:cacheprovider "$@"
}

# Tests that need torch and the libraries on it.
with_torch=(
    tests/python/test_docs_export.py
    tests/python/test_docs_models.py
    tests/python/test_parity_text.py
    tests/python/test_parity_images.py
    tests/python/test_minilm.py
    tests/python/test_monitored_models.py
    tests/python/test_hostile_text.py
    tests/python/test_hostile_images.py
    tests/python/test_hostile_folders.py
    tests/python/test_gpu_check.py
)

step_triton() {
    local promtool
    promtool=$(promtool_path)
    PROMTOOL=$promtool against_server triton tests/python \
        --ignore tests/python/test_kserve.py --ignore tests/python/test_bench_triton.py \
        --ignore tests/python/test_cuda_worker.py \
        "${with_torch[@]/#/--ignore=}"
}

# Apart from the others: kserve and tritonclient register the same protobuf names and cannot share a process.
step_kserve() { against_server kserve tests/python/test_kserve.py; }

# Apart because pytriton needs an older numpy.
step_bench() { against_server pytriton tests/python/test_bench_triton.py; }

# Apart because torch is large.
step_export() {
    local python
    python=$(venv tests/python/requirements-export.txt)
    "$python" models/train.py --check
    against_server export "${with_torch[@]}"
}

# --- main -------------------------------------------------------------------------------------------------------------

if [[ ${1:-} == --list ]]; then
    for step in "${steps[@]}"; do printf '%-8s %s\n' "$step" "$(about "$step")"; done
    exit
fi
if (($#)); then steps=("$@"); fi
for step in "${steps[@]}"; do
    about "$step" >/dev/null || { say "no step is called '$step'; tests/all.sh --list names them"; exit 2; }
done

report=()
for step in "${steps[@]}"; do
    printf '\n==> %s: %s\n' "$step" "$(about "$step")"
    began=$SECONDS
    # A subshell outside any condition: inside one, `set -e` would be off.
    set +e
    (set -e && "step_$step")
    status=$?
    set -e
    took=$((SECONDS - began))
    if ((status)); then
        printf '\n==> %s FAILED after %d s (exit %d)\n' "$step" "$took" "$status"
        exit 1
    fi
    printf '==> %s: ok, %d s\n' "$step" "$took"
    report+=("$(printf '%-8s %5d s' "$step" "$took")")
done

printf '\nAll steps passed in %d s:\n' "$SECONDS"
printf '  %s\n' "${report[@]}"
