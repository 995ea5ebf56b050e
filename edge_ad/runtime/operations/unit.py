"""The systemd unit of a station."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from edge_ad.bundle.atomic import write_atomic
from edge_ad.errors import BundleError, DeployError, UsageError

WATCHDOG_S = 60
_NAME_CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\@"
_UNIT = """\
# Written by `edge-ad flash --service`; the next one writes it anew.
[Unit]
Description=edge-ad: {description}
Documentation={station}
After=network-online.target
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={start}
WorkingDirectory={folder}
Restart=on-failure
RestartSec=5
WatchdogSec={watchdog_s}
TimeoutStartSec=1800
TimeoutStopSec=30
KillSignal=SIGTERM
{user}
SupplementaryGroups=video dialout
StateDirectory={state}
CacheDirectory={state}
Environment=EDGE_AD_CACHE=/var/cache/{state}
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
RestrictSUIDSGID=yes
LockPersonality=yes

[Install]
WantedBy=multi-user.target
"""


def quoted(argument: str) -> str:
    """An argument of ExecStart, as systemd.service(5) has it read: nothing in it means anything."""
    for plain, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\t", "\\t"), ("\r", "\\r")):
        argument = argument.replace(plain, escaped)
    return '"' + argument.replace("%", "%%").replace("$", "$$") + '"'


def unit_text(
    name: str, *, command: list[str], station: Path, user: str | None = None, watchdog_s: int = WATCHDOG_S
) -> str:
    """A unit that runs a station, is restarted when it fails or stands still, and may use cameras and serial ports.

    command: what starts edge-ad. user: who it runs as, by default one that systemd makes for it. Its state folder is
    /var/lib/NAME, and /var/cache/NAME is where built engines are kept; half an hour to start is for TensorRT, which
    builds its engine at the first one.
    """
    for text, what in (
        (name, "the unit's name"),
        (str(station), "the station file"),
        (user or "", "the user"),
    ):
        if any(ord(character) < 32 for character in text):
            raise UsageError(f"{what} holds control characters")
    return _UNIT.format(
        description=name.replace("%", "%%"),
        station=_specifiers(station.absolute().as_uri()),
        start=" ".join(map(quoted, [*command, "run", str(station)])),
        folder=_specifiers(str(station.parent)),
        watchdog_s=watchdog_s,
        user="DynamicUser=yes" if user is None else f"User={user}",
        state=name,
    )


def install_unit(text: str, name: str, folder: Path) -> Path:
    """Check the unit as far as that can be done here, and write `folder/NAME.service`, whole or not at all.

    Raises UsageError for a name that no unit can have, DeployError for a unit that systemd would not take as it is
    meant, and for a folder that cannot be written.
    """
    if not name or any(character not in _NAME_CHARACTERS for character in name):
        raise UsageError(f"'{name}' is no name for a unit", hint="use letters, digits, '-', '_' and '.'")
    path = folder / f"{name}.service"
    _verify(text, path.name)
    try:
        write_atomic(path, text.encode())
    except BundleError as error:
        raise DeployError(
            "the unit cannot be written", where=path,
            hint="run it as root, or name another folder with --service-folder",
        ) from error  # fmt: skip
    return path


def _verify(text: str, name: str) -> None:
    """`systemd-analyze verify`, which takes keys that it does not know for a success, but says so."""
    program = shutil.which("systemd-analyze")
    if program is None:
        return
    with tempfile.TemporaryDirectory(prefix="edge-ad-unit-") as folder:
        path = Path(folder) / name
        path.write_text(text)
        done = subprocess.run(
            [program, "verify", "--man=no", str(path)], capture_output=True, text=True, timeout=60
        )
    told = [line for line in done.stderr.splitlines() if name in line]
    if done.returncode or told:
        raise DeployError(
            f"systemd does not take the unit ({(told or [done.stderr.strip()])[0]})", where=name
        )


def _specifiers(text: str) -> str:
    return text.replace("%", "%%")
