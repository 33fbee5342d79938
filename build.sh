#!/usr/bin/env bash
# vgpud's one entrance for everything that is built, checked and measured. `./build.sh help`.
#
# Each verb first makes what it needs: Debian packages (only missing ones), a virtual environment
# in .venv, the C programs, the engine's Python extension. A step whose inputs did not change
# since it last succeeded is skipped: the hash of its inputs is kept in build/stamp/. The long
# output of a step goes to build/log/. Nothing outside this tree is written, except by apt.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
ROOT=$PWD
# The system's Python, not one from a home directory: workers run under other uids.
SYSTEM_PYTHON=${SYSTEM_PYTHON:-/usr/bin/python3.11}
PY=$ROOT/.venv/bin/python
JOBS=$(nproc)
# Workers, under uids of their own, read what is built here.
umask 022

APT_BASE=(python3.11-venv python3.11-dev gcc libc6-dev binutils make opencl-c-headers acl)
APT_FUZZ=(clang libclang-rt-14-dev)
CHECK_FUZZ_SECONDS=4                     # for each target, in check
APT_TEST=(systemd systemd-container) # the units are tested under a systemd of their own

# ---- saying what happens ------------------------------------------------------------------------

say() { printf '==> %s\n' "$*"; }
die() { printf 'build.sh: %s\n' "$*" >&2; exit 1; }

# quietly LOG HINT COMMAND…: the output goes to build/log/LOG.log; on failure its end is shown.
quietly() {
    local log=build/log/$1.log hint=$2
    shift 2
    if ! "$@" >"$log" 2>&1 </dev/null; then
        printf '%s\n' "--- $log, last lines ---" >&2
        tail -n 30 "$log" >&2
        die "failed: $*
$hint"
    fi
}

# ---- steps whose inputs did not change are skipped ----------------------------------------------

fingerprint() { { printf '%s\n' "$ROOT" "$@"; cat; } | sha256sum | cut -d' ' -f1; }
files_fingerprint() { sha256sum -- "$@" | fingerprint "$TOOLCHAIN"; }
fresh() { [[ -f build/stamp/$1 && $(<"build/stamp/$1") == "$2" ]]; }
stamp() { printf '%s\n' "$2" >"build/stamp/$1"; }

# ---- the machine: Debian packages ---------------------------------------------------------------

need_packages() {
    local wanted=("$@") missing=() name
    for name in "${wanted[@]}"; do
        # Several architectures of one package may be known: one installed is enough.
        dpkg-query -W -f='${db:Status-Status}\n' "$name" 2>/dev/null | grep -qx installed ||
            missing+=("$name")
    done
    ((${#missing[@]})) || return 0
    ((EUID == 0)) || die "Debian packages are missing; as root, run
  apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    local apt=(apt-get -o DPkg::Lock::Timeout=300 -q)
    local hint='Is a Debian mirror reachable (apt-get update)? Is another apt running?'
    say "apt: reading the package lists"
    quietly apt-update "$hint" "${apt[@]}" update 9>&-
    say "apt: installing ${missing[*]}"
    quietly apt-install "$hint" "${apt[@]}" install -y --no-install-recommends "${missing[@]}" 9>&-
}

# ---- the virtual environment --------------------------------------------------------------------

pip_install() {
    quietly pip 'Is the Python package index reachable? See the log for the package that failed.' \
        "$PY" -m pip install --disable-pip-version-check --no-input --progress-bar off \
        --no-build-isolation --use-pep517 "$@"
}

# A venv knows its own path and its interpreter: another tree, another Python, a new venv.
need_venv() {
    [[ -x $SYSTEM_PYTHON ]] || die "no $SYSTEM_PYTHON: this needs Debian 12's Python 3.11
(SYSTEM_PYTHON=/path/to/python3.11 names another one; every uid must be able to execute it)"
    local tools mark
    tools=$("$SYSTEM_PYTHON" -c 'import tomllib
print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"])')
    mark=$("$SYSTEM_PYTHON" -VV | fingerprint "$SYSTEM_PYTHON" "$tools")
    if ! fresh venv "$mark" || [[ ! -x $PY ]]; then
        say "venv: making .venv from $SYSTEM_PYTHON"
        rm -rf .venv build/stamp
        mkdir -p build/stamp
        quietly venv 'Is python3.11-venv installed?' "$SYSTEM_PYTHON" -m venv .venv
        # shellcheck disable=SC2086 # two requirements, two words
        pip_install $tools
        stamp venv "$mark"
    fi
}

# need_requirements NAME FILE…: what the files pin is installed.
need_requirements() {
    local name=$1 mark args=() file
    shift
    mark=$(files_fingerprint "$@")
    fresh "$name" "$mark" && return
    for file in "$@"; do args+=(-r "$file"); done
    say "pip: installing $*"
    pip_install "${args[@]}"
    stamp "$name" "$mark"
}

# ---- the C programs, the engine's extension, the commands ---------------------------------------

need_programs() {
    if ! make -C mediator_ext -q programs >/dev/null 2>&1; then
        say "make: vgpu-spawn, vgpu-worker, vgpu-client"
        quietly programs 'The first error in the log counts.' \
            make -C mediator_ext -j "$JOBS" programs
    fi
}

need_extension() {
    local mark
    mark=$(files_fingerprint mediator_ext/*.[ch] mediator_ext/spawn/spawn_protocol.h \
        mediator_ext/build_mediator.py setup.py)
    fresh extension "$mark" && compgen -G 'vgpud/_mediator*.so' >/dev/null && return
    say "cffi: building vgpud._mediator"
    rm -f vgpud/_mediator*.so
    quietly extension 'The first error in the log counts.' \
        "$PY" setup.py -q build_ext --inplace --force --build-temp build/ext --parallel "$JOBS"
    stamp extension "$mark"
}

# "compat" puts a .pth into the venv: setuptools' import hook would cost every command 20 ms.
need_commands() {
    local mark
    mark=$(files_fingerprint setup.py pyproject.toml vgpud/__init__.py)
    fresh commands "$mark" && return
    say "pip: linking vgpud and vgpu-admin into .venv/bin"
    pip_install --no-deps --config-settings editable_mode=compat -e .
    stamp commands "$mark"
}

setup() {
    mkdir -p build/log build/stamp
    exec 9>build/.lock
    if ! flock -n 9; then
        say "waiting for another build in this tree"
        flock 9
    fi
    mkdir -p build/log build/stamp
    need_packages "${APT_BASE[@]}"
    TOOLCHAIN=$(gcc --version | head -n 1)
    need_venv
    need_requirements runtime requirements.txt requirements-cpu.txt
    need_programs
    need_extension
    need_commands
    exec 9>&-
}

setup_dev() {
    setup
    exec 9>build/.lock
    flock 9
    need_requirements dev requirements.txt requirements-dev.txt
    # The package has the program, but no command for it.
    printf '#!/bin/sh\nexec %q -m varlink.cli "$@"\n' "$PY" >.venv/bin/varlink
    chmod +x .venv/bin/varlink
    exec 9>&-
}

# Workers run under uids of their own and must be able to reach this tree, also in a clone below a
# directory that is closed to others (/root, mostly). There, what follows "${WAY[@]}" sees that
# directory replaced by an empty one with nothing but this tree in it, at the same path; nobody else
# does, since it happens in a mount namespace of its own.
find_way() {
    WAY=()
    ((EUID == 0)) || return 0
    local dir closed=
    for dir in "$ROOT" "$ROOT/vgpud"; do
        is_open "$dir" || die "workers run under uids of their own: chmod o+rx $dir"
    done
    while dir=$(dirname "$dir"); [[ $dir != / ]]; do
        is_open "$dir" || closed=$dir
    done
    [[ -n $closed ]] || return 0
    if ! unshare --mount true 2>/dev/null; then
        say "note: other users cannot enter $closed, so workers cannot: clone somewhere else"
        return
    fi
    say "note: other users cannot enter $closed; opening a way for workers, and for them only"
    # shellcheck disable=SC2016 # expanded by the inner shell
    WAY=(unshare --mount --propagation private bash -ec '
        exec 7<"$1"
        mount -t tmpfs -o mode=0755 vgpud-way "$2"
        mkdir -p "$1"
        mount -c --bind /proc/self/fd/7 "$1" # -c: the link, not the path it had
        exec 7<&-
        cd "$1"
        shift 2
        exec "$@"' bash "$ROOT" "$closed")
}
is_open() { [[ $(stat -L -c %A "$1") == *[xt] ]]; }

# ---- verbs --------------------------------------------------------------------------------------

verb_demo() { # set up, then let two VMs share the GPU; --help shows its options
    setup
    find_way
    exec "${WAY[@]}" "$PY" -m vgpud.demo "$@"
}

verb_build() { # set up only: .venv, the engine, the C programs
    setup
    say "built: .venv/bin/vgpud, .venv/bin/vgpu-admin, vgpud/bin/, build/libvgpu.a"
}

verb_test() { # all tests: C under sanitizers, then pytest (further arguments go to pytest)
    setup_dev
    ((EUID != 0)) || need_packages "${APT_TEST[@]}"
    find_way
    say "C tests under sanitizers"
    "${WAY[@]}" "$PY" tests/c/run.py
    say "pytest"
    "${WAY[@]}" "$PY" -m pytest -q "$@"
}

verb_check() { # what a reviewer runs: format, lint, types, guards, C tests, a moment of fuzzing
    setup_dev
    need_packages "${APT_FUZZ[@]}"
    find_way
    local c_files failed=()
    mapfile -t c_files < <(find mediator_ext tests -name '*.[ch]' | sort)
    # Every step runs, so that one run shows everything there is to mend.
    step "ruff format" .venv/bin/ruff format -q --check .
    step "ruff check" .venv/bin/ruff check -q .
    step "shellcheck" .venv/bin/shellcheck build.sh .ci/run
    step "clang-format" .venv/bin/clang-format --dry-run -Werror "${c_files[@]}"
    step "mypy --strict" "$PY" -m mypy vgpud tests setup.py mediator_ext/build_mediator.py
    step "guards" "$PY" -m pytest -q tests/guards
    step "C tests under sanitizers" "${WAY[@]}" "$PY" tests/c/run.py
    step "fuzz targets, for a moment each" "$PY" -m tests.fuzz.run "$CHECK_FUZZ_SECONDS"
    ((${#failed[@]} == 0)) || die "check failed: $(printf '%s; ' "${failed[@]}")
(formats are mended by .venv/bin/ruff format . and .venv/bin/clang-format -i FILE)"
    say "check: all clean"
}
step() {
    say "$1"
    "${@:2}" || failed+=("$1")
}

verb_bench() { # [NAME]: run one benchmark, or all; the last line of each is JSON
    setup_dev
    quietly bench 'The first error in the log counts.' make -C mediator_ext -j "$JOBS" bench
    find_way
    exec "${WAY[@]}" "$PY" -m tests.bench "$@"
}

verb_fuzz() { # [SECONDS] [NAME…]: fuzz the parsers of what others send, SECONDS (60) each
    setup
    need_packages "${APT_FUZZ[@]}"
    "$PY" -m tests.fuzz.run "$@"
}

verb_install() { # onto this host: PREFIX (/opt/vgpud), DESTDIR, EXTRAS=cpu for a host without a GPU
    local prefix=${PREFIX:-/opt/vgpud} dest=${DESTDIR:-} extras=${EXTRAS:-}
    [[ $prefix == /* && $dest != */ ]] || die "PREFIX must be absolute, DESTDIR without a final /"
    [[ -n $dest ]] || ((EUID == 0)) || die "installing onto this host needs root (or set DESTDIR)"
    setup
    exec 9>build/.lock
    flock 9
    build_wheels "$extras"
    install_venv "$dest" "$prefix" "$extras"
    exec 9>&-
    install_files "$dest" "$prefix"
    [[ -z $dest ]] || { say "staged for $prefix below $dest; it needs python3.11, acl" && return; }
    activate
    cat <<NEXT

vgpud is installed in $prefix. What to do next:
  1. read /etc/vgpud/vgpud.toml (every key is explained there)
  2. give yourself the right to administer it: usermod -aG vgpud,vgpud-admin YOURSELF
  3. systemctl enable --now vgpu-spawn.service vgpud.service
  4. vgpu-admin status
NEXT
}

# Everything as wheels first: the target needs no compiler, no index and no build tools.
build_wheels() {
    local mark files=(requirements.txt) hint='The first error in the log counts.'
    local pip=("$PY" -m pip wheel -q --no-input --no-build-isolation --use-pep517 -w build/wheel)
    [[ $1 != cpu ]] || files+=(requirements-cpu.txt)
    mark=$(files_fingerprint "${files[@]}")
    say "pip: building the wheels"
    if ! fresh wheels "$mark" || [[ ! -d build/wheel ]]; then
        rm -rf build/wheel
        quietly wheels "$hint" "${pip[@]}" "${files[@]/#/-r}"
        stamp wheels "$mark"
    fi
    rm -rf build/wheel/vgpud-*.whl build/lib build/lib.* build/bdist.*
    quietly wheel "$hint" "${pip[@]}" --no-deps .
}

install_venv() {
    local dest=$1 prefix=$2 extras=$3 target=$1$2 script
    local hint='The first error in the log counts.'
    local pip=("$PY" -m pip --python "$target/bin/python" install -q --no-input --no-index --no-compile)
    say "venv: $target"
    mkdir -p "$target"
    quietly install-venv "$hint" "$SYSTEM_PYTHON" -m venv --without-pip "$target"
    quietly install "$hint" "${pip[@]}" --find-links build/wheel "vgpud${extras:+[$extras]}"
    # The same version may have been built from changed sources.
    quietly install "$hint" "${pip[@]}" --no-deps --force-reinstall build/wheel/vgpud-*.whl
    if [[ -n $dest ]]; then
        # What was written for the staging directory must hold at its final place.
        for script in "$target/pyvenv.cfg" "$target"/bin/*; do
            [[ -L $script ]] || sed -i "s|$target|$prefix|g" "$script"
        done
    fi
    "$target/bin/python" -m compileall -q -s "$dest" "$target/lib" >/dev/null
    ln -sf ../lib/python3.11/site-packages/vgpud/bin/vgpu-{spawn,worker,client} "$target/bin/"
}

# Each shell looks for completions in a place, and under a name, of its own.
install_completion() {
    local dest=$1 prefix=$2 share=$1/usr/local/share shell file
    local -A places=([bash]=bash-completion/completions/vgpu-admin
        [zsh]=zsh/site-functions/_vgpu-admin [fish]=fish/vendor_completions.d/vgpu-admin.fish)
    for shell in "${!places[@]}"; do
        file=$share/${places[$shell]}
        mkdir -p "${file%/*}"
        "$dest$prefix/bin/python" -m vgpud.cli.admin completion "$shell" >"$file"
        chmod 0644 "$file"
    done
}

# Units, accounts and directories; the configuration only where there is none yet. The units are
# written for a distribution's paths: here both programs and helpers are in the prefix.
install_files() {
    local dest=$1 prefix=$2 file target programs program
    say "systemd units, accounts, directories, configuration"
    for file in systemd/*.service systemd/sysusers.d/*.conf systemd/tmpfiles.d/*.conf; do
        case $file in
        *.service) target=$dest/usr/local/lib/systemd/system/$(basename "$file") ;;
        *) target=$dest/usr/local/lib/${file#systemd/} ;;
        esac
        mkdir -p "$(dirname "$target")"
        sed -E "s#/usr/(libexec/vgpud|bin)/(vgpud|vgpu-)#$prefix/bin/\2#g" "$file" >"$target"
        chmod 0644 "$target"
        mapfile -t programs < <(grep -oE "$prefix/bin/[a-z-]+" "$target")
        for program in "${programs[@]}"; do
            [[ -x $dest$program || -L $dest$program ]] || die "$target names $program: not there"
        done
    done
    mkdir -p "$dest/usr/local/bin" "$dest/etc/vgpud"
    ln -sf "$prefix"/bin/{vgpud,vgpu-admin} "$dest/usr/local/bin/"
    install_completion "$dest" "$prefix"
    for file in vgpud/man/*; do
        target=$dest/usr/local/share/man/man${file##*.}/
        mkdir -p "$target"
        ln -sf "$prefix/lib/python3.11/site-packages/$file" "$target"
    done
    file=$dest/etc/vgpud/vgpud.toml
    if [[ ! -e $file ]]; then
        install -m 0644 vgpud.toml "$file"
    elif ! cmp -s vgpud.toml "$file"; then
        install -m 0644 vgpud.toml "$file.new"
        say "kept $file; this version's defaults are in $file.new"
    fi
}

activate() {
    if [[ ! -d /run/systemd/system ]]; then
        say "systemd is not running here: accounts and directories are made when it starts"
        return
    fi
    systemd-sysusers
    systemd-tmpfiles --create /usr/local/lib/tmpfiles.d/vgpud.conf
    systemctl daemon-reload
}

verb_clean() { # remove everything that was built, .venv too
    rm -rf .venv build vgpud/bin vgpud/_mediator*.so vgpud/_mediator.c ./*.egg-info
    find . -name __pycache__ -type d -prune -exec rm -rf {} +
    rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis
}

verb_help() { # this text
    printf 'usage: ./build.sh VERB [ARGUMENT…]\n\n'
    sed -nE 's/^verb_([a-z]+)\(\) \{ # (.*)$/  \1\t\2/p' "$ROOT/build.sh" | expand -t 12
}

verb=${1:-help}
shift || true
if ! declare -F "verb_$verb" >/dev/null; then
    printf 'build.sh: no verb %s\n' "$verb" >&2
    verb_help >&2
    exit 2
fi
"verb_$verb" "$@"
