#!/bin/sh
# Makes a virtual environment with everything: scripts/setup.sh [FOLDER]. Needs Python 3.10 to 3.12.
set -eu
venv=${1:-.venv}
cd "$(dirname "$0")/.."

clang_runtime() {
    # Debian keeps clang's sanitizers and libFuzzer in a package of their own, named for its version. Empty where it is
    # installed, or where apt has no lists yet.
    runtime=$(apt-cache depends clang 2>/dev/null | sed -n 's/.*Depends: clang-\([0-9][0-9]*\)$/libclang-rt-\1-dev/p')
    if [ -n "$runtime" ] && ! dpkg -s "$runtime" >/dev/null 2>&1 && apt-cache show "$runtime" >/dev/null 2>&1; then
        printf ' %s' "$runtime"
    fi
}

install_system_packages() {
    # What is missing is installed where we may, else named with what it switches off.
    command -v apt-get >/dev/null 2>&1 || { echo "no apt-get: install by hand what is named below" >&2; }
    missing=""
    command -v mosquitto >/dev/null 2>&1 || missing="$missing mosquitto"
    command -v cc >/dev/null 2>&1 || missing="$missing gcc libc6-dev"
    command -v make >/dev/null 2>&1 || missing="$missing make"
    command -v arm-none-eabi-gcc >/dev/null 2>&1 || missing="$missing gcc-arm-none-eabi libnewlib-arm-none-eabi"
    command -v qemu-system-arm >/dev/null 2>&1 || missing="$missing qemu-system-arm"
    command -v clang >/dev/null 2>&1 || missing="$missing clang"
    missing="$missing$(clang_runtime)"
    command -v ssh >/dev/null 2>&1 || missing="$missing openssh-client"
    if [ ! -x /usr/sbin/sshd ] && [ -d /run/systemd/system ]; then
        # Its package would let people log in to this machine from now on; that is for its owner to decide.
        echo "missing: openssh-server (the tests of flashing over ssh will be skipped)" >&2
    elif [ ! -x /usr/sbin/sshd ]; then
        missing="$missing openssh-server"
    fi
    if [ "$(uname -m)" = x86_64 ]; then
        command -v qemu-aarch64-static >/dev/null 2>&1 || missing="$missing qemu-user-static"
        command -v mmdebstrap >/dev/null 2>&1 || missing="$missing mmdebstrap"
    fi
    python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || missing="$missing python3-venv"
    [ -z "$missing" ] && return 0
    sudo=""
    [ "$(id -u)" = 0 ] || sudo="sudo -n"
    if command -v apt-get >/dev/null 2>&1 && $sudo true 2>/dev/null; then
        $sudo apt-get update -qq || true
        case $missing in
            *libclang-rt-*) ;;
            *) missing="$missing$(clang_runtime)" ;;
        esac
        # A distribution may start a service by itself; ours is started by the tests that need it.
        # shellcheck disable=SC2086
        if $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
        then return 0; fi
    fi
    for package in $missing; do
        case $package in
            mosquitto) echo "missing: mosquitto (the tests with a real MQTT broker will be skipped)" >&2 ;;
            gcc | libc6-dev | make) echo "missing: $package (no board can be run here, and .tflite files not compiled)" >&2 ;;
            gcc-arm-none-eabi | libnewlib-arm-none-eabi)
                echo "missing: $package (no firmware for microcontrollers; --board posix works)" >&2 ;;
            qemu-system-arm) echo "missing: qemu-system-arm (emulated boards: only --board posix)" >&2 ;;
            openssh-client | openssh-server) echo "missing: $package (the tests of flashing over ssh will be skipped)" >&2 ;;
            qemu-user-static | mmdebstrap)
                echo "missing: $package (the tests on an emulated arm64 device in make test-slow will be skipped)" >&2 ;;
            clang | libclang-rt-*) echo "missing: $package (the fuzzing of link and images will be skipped)" >&2 ;;
            python3-venv) echo "missing: python3-venv (no virtual environment can be made)" >&2 ;;
        esac
    done
}

find_python() {
    for candidate in ${PYTHON:-} python3 python3.12 python3.11 python3.10; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; then
            echo "$candidate"
            return 0
        fi
    done
    echo "error: Python 3.10, 3.11 or 3.12 is needed; set PYTHON to one" >&2
    return 1
}

install_system_packages
python=$(find_python)
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
pip="$venv/bin/python -m pip --disable-pip-version-check"
# torch first and pinned: a CPU build on a package path of yours is then taken, and nothing upgrades it later.
$pip install --quiet "torch==2.13.0"
$pip install --quiet -e '.[dev]'
echo "ready: $venv/bin/edge-ad --help"
