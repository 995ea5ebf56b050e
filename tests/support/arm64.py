"""arm64 devices on this x86-64 machine: a Debian root of their own, whose Python qemu-user runs.

No setting of the machine is changed: QEMU is started by name and not through binfmt_misc, and a device's mounts are
those of the process alone that runs in it (a mount namespace). So a program in there cannot start another one; none of
edge-ad's commands on a device that the tests use does.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from checkout import copy_checkout

PYTHON = "/opt/edge-ad/bin/python"
_PROGRAMS = {
    "qemu-aarch64-static": "qemu-user-static",
    "mmdebstrap": "mmdebstrap",
    "unshare": "util-linux",
    "apt-get": "apt",
}
_PACKAGES = "python3,libstdc++6,libgomp1"
# What apt says of a mirror that cannot be reached.
_UNREACHABLE = (
    "Could not connect",
    "Unable to connect",
    "Could not resolve",
    "Temporary failure",
    "timed out",
)
# Minor versions 17 to 36 of glibc 2: wheels for all of them run on Debian 12.
_GLIBC = range(17, 37)


@dataclass(frozen=True)
class Cpu:
    """A processor as QEMU emulates it and as Linux describes it (`/proc/cpuinfo`, `/sys/devices/system/cpu`).

    midr: its identification register, in which implementer, variant, part and revision stand."""

    name: str
    midr: int
    features: str

    @property
    def cpuinfo(self) -> str:
        """Two cores."""
        midr = self.midr
        text = (
            f"BogoMIPS\t: 108.00\nFeatures\t: {self.features}\nCPU implementer\t: 0x{midr >> 24 & 0xFF:02x}\n"
            f"CPU architecture: 8\nCPU variant\t: 0x{midr >> 20 & 0xF:x}\nCPU part\t: 0x{midr >> 4 & 0xFFF:03x}\n"
            f"CPU revision\t: {midr & 0xF}\n\n"
        )
        return "".join(f"processor\t: {core}\n{text}" for core in range(2))


# As in a Raspberry Pi 4 and a Raspberry Pi 5; the latter multiplies 8-bit integers four at a time.
CORTEX_A72 = Cpu("cortex-a72", 0x410FD083, "fp asimd evtstrm crc32 cpuid")
CORTEX_A76 = Cpu(
    "cortex-a76", 0x414FD0B1,
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp",
)  # fmt: skip


@dataclass(frozen=True)
class Device:
    """A device of its own in a root that several share. commands: the folder of its `edge-ad` and `python`, for PATH.
    srv: what is /srv there."""

    commands: Path
    srv: Path

    def run(self, *words: object, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Run one of its commands; fails the test when it fails."""
        done = subprocess.run(
            [self.commands / str(words[0]), *map(str, words[1:])], capture_output=True, text=True, timeout=timeout
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done


def require() -> None:
    """Skip the test where no such root can be made."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        pytest.skip(f"emulates arm64 on Linux on x86-64, this is {sys.platform} on {platform.machine()}")
    if os.getuid() != 0:
        pytest.skip("only root can make a root folder and change into it")
    missing = [package for program, package in _PROGRAMS.items() if shutil.which(program) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (apt-get install --no-install-recommends)")
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("this machine lets nobody have mounts of his own (unshare --mount)")


def make_root(folder: Path) -> Path:
    """A Debian root for arm64 with Python. Skips the test where the mirror of the machine's own apt sources does not
    answer."""
    suite, mirror = _mirror()
    done = subprocess.run(
        ["mmdebstrap", "--mode=root", "--variant=extract", "--architectures=arm64", f"--include={_PACKAGES}",
         suite, folder, mirror], capture_output=True, text=True,
    )  # fmt: skip
    cause = next(
        (line for line in done.stderr.splitlines() if any(said in line for said in _UNREACHABLE)), None
    )
    if done.returncode and cause is not None:
        pytest.skip(f"Debian's mirror does not answer: {cause.strip()}")
    assert done.returncode == 0, done.stderr[-4000:]
    qemu = shutil.which("qemu-aarch64-static")
    assert qemu is not None
    shutil.copy(qemu, folder / "usr" / "bin" / "qemu-aarch64-static")
    for name in ("proc", "sys", "srv", "opt", "wheels"):
        (folder / name).mkdir(exist_ok=True)
    return folder


def _mirror() -> tuple[str, str]:
    """Release and address of the Debian archive that the machine's apt uses."""
    fields = "$(LABEL) $(CODENAME) $(REPO_URI)"
    done = subprocess.run(
        ["apt-get", "indextargets", "--format", fields, "Created-By: Packages", "Component: main"],
        capture_output=True, text=True,
    )  # fmt: skip
    for line in done.stdout.splitlines():
        label, _, rest = line.partition(" ")
        suite, _, address = rest.partition(" ")
        if label == "Debian" and re.fullmatch(r"[a-z]+", suite):
            return suite, address
    pytest.skip("apt has no Debian archive among its sources, or has never been updated (apt-get update)")


def install(root: Path, device: Device, extras: str, work: Path) -> None:
    """The device install, by the pip of the device from a folder of wheels: edge-ad's, built from the checkout, and
    those that it needs there. Skips the test where they cannot be had."""
    wheels, source = root / "wheels", copy_checkout(work / "source")
    _pip("wheel", "--no-deps", "--wheel-dir", wheels, source)
    (wheel,) = wheels.glob("edge_ad-*.whl")
    kinds = [f"manylinux_2_{minor}_aarch64" for minor in _GLIBC] + ["manylinux2014_aarch64"]
    _pip(
        "download", *(f"--platform={kind}" for kind in kinds), "--implementation", "cp", "--only-binary=:all:",
        "--python-version", _python_version(root), "--dest", wheels, f"{wheel}[{extras}]", "pip",
    )  # fmt: skip
    (own_pip,) = wheels.glob("pip-*.whl")
    device.run("system-python", "-m", "venv", "--without-pip", Path(PYTHON).parents[1])
    device.run(
        "python", f"/wheels/{own_pip.name}/pip", "install", "--no-index", "--find-links", "/wheels", "--no-compile",
        "--root-user-action", "ignore", f"edge-ad[{extras}]", timeout=900,
    )  # fmt: skip


def _python_version(root: Path) -> str:
    """e.g. 3.11. Skips the test for one that edge-ad does not support."""
    (python,) = (root / "usr" / "bin").glob("python3.[0-9]*")
    found = python.name.removeprefix("python")
    if found not in ("3.10", "3.11", "3.12"):
        pytest.skip(f"this Debian has Python {found}, edge-ad takes 3.10 to 3.12")
    return found


def _pip(*words: object) -> None:
    """pip of this machine. Skips the test where a package cannot be had."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode and "No matching distribution" in done.stderr:
        pytest.skip(f"packages cannot be had here: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr[-2000:]


def device(root: Path, folder: Path, cpu: Cpu) -> Device:
    """A device with this processor; its own files are kept in `folder`."""
    made = Device(folder / "bin", folder / "srv")
    for path in (made.commands, made.srv):
        path.mkdir(parents=True)
    (folder / "cpuinfo").write_text(cpu.cpuinfo)
    _describe_cores(folder / "sys", cpu)
    _script(made.commands / "system-python", _inside(root, folder, cpu, ["/usr/bin/python3"]))
    _script(made.commands / "python", _inside(root, folder, cpu, [PYTHON]))
    _script(made.commands / "edge-ad", _inside(root, folder, cpu, [PYTHON, "/opt/edge-ad/bin/edge-ad"]))
    return made


def _describe_cores(sys_folder: Path, cpu: Cpu) -> None:
    """What ONNX Runtime, XNNPACK and OpenVINO read before they choose their kernels. With the x86 machine's own /sys
    and /proc/cpuinfo the first and the last of them crash."""
    cpus = sys_folder / "devices" / "system" / "cpu"
    for core in range(2):
        files = {
            "regs/identification/midr_el1": f"0x{cpu.midr:016x}",
            "topology/core_id": core,
            "topology/physical_package_id": 0,
            "topology/thread_siblings": 1 << core,
            "topology/thread_siblings_list": core,
            "topology/core_siblings": 3,
            "topology/core_siblings_list": "0-1",
            "cpufreq/cpuinfo_max_freq": 1_800_000,
        }
        for name, value in files.items():
            path = cpus / f"cpu{core}" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{value}\n")
    for name in ("possible", "present", "online"):
        (cpus / name).write_text("0-1\n")
    node = sys_folder / "devices" / "system" / "node"  # without it OpenVINO 2026.4.1 destroys its heap
    (node / "node0").mkdir(parents=True)
    (node / "online").write_text("0\n")
    (node / "node0" / "cpulist").write_text("0-1\n")


def _inside(root: Path, folder: Path, cpu: Cpu, words: Sequence[str]) -> str:
    """A shell command that runs `words` on the device, with the script's own arguments behind them."""
    at = {name: shlex.quote(str(root / name)) for name in ("proc", "sys", "srv")}
    own = {name: shlex.quote(str(folder / name)) for name in ("cpuinfo", "sys", "srv")}
    mounts = [
        f"mount -t proc proc {at['proc']}",
        f"mount --bind {own['cpuinfo']} {at['proc']}/cpuinfo",
        f"mount --bind {own['sys']} {at['sys']}",
        f"mount --bind {own['srv']} {at['srv']}",
    ]
    start = ["/usr/bin/qemu-aarch64-static", "-cpu", cpu.name, *words]
    environment = "env -i PATH=/opt/edge-ad/bin:/usr/bin:/bin HOME=/root LANG=C.UTF-8"
    chroot = shutil.which("chroot", path="/usr/sbin:/usr/bin:/sbin:/bin")
    program = " && ".join(
        [*mounts, f'exec {environment} {chroot} {shlex.quote(str(root))} {shlex.join(start)} "$@"']
    )
    return f'exec unshare --mount --propagation private /bin/sh -c {shlex.quote(program)} sh "$@"'


def _script(path: Path, command: str) -> None:
    path.write_text(f"#!/bin/sh\n{command}\n")
    path.chmod(0o755)
