"""`edge-ad flash`."""

from __future__ import annotations

from pathlib import Path

import click

from edge_ad.bundle.signature import PublicKey
from edge_ad.cli.flash_board import Firmware, check_options, flash_board
from edge_ad.cli.flash_board import Options as BoardOptions
from edge_ad.cli.options import errors, out, print_json, signature_option, stages
from edge_ad.cli.payloads import board_address, board_options
from edge_ad.errors import UsageError
from edge_ad.firmware_bridge.build import Dialect


@click.command("flash")
@click.argument("bundle", required=False, type=click.Path(path_type=Path))
@click.option("--to", "addresses", metavar="ADDRESS", multiple=True,
              help="dir:/opt/line3, a folder of this machine, or ssh://user@box[:port]/opt/line3, which may be given "
              "several times.")  # fmt: skip
@click.option("--remote-command", default="edge-ad", show_default=True,
              help="What starts edge-ad on a device that is reached by ssh.")  # fmt: skip
@click.option("--restart", metavar="UNIT",
              help="Then restart this systemd unit there; if it does not come up, the device rolls back.")  # fmt: skip
@click.option("--wait", "wait_s", type=click.FloatRange(0, min_open=True), default=60.0, show_default=True,
              help="Seconds that the unit has to come up.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Only tell what would be sent (ssh).")
@board_options
@click.option("--program", metavar="NAME",
              help="First write this real board's firmware through its debug probe, e.g. nucleo-h743zi2; its UART is "
              "set to --baud.")  # fmt: skip
@click.option("--firmware", type=click.Choice(["lean", "full"]),
              help="Put this firmware on the board: lean holds only the operators that BUNDLE needs, full those of "
              "every model. Without it a board keeps what it has; a new one has the full one.")  # fmt: skip
@click.option("--dialect", type=click.Choice(["link", "mlperf"]), default="link", show_default=True,
              help="With --program: mlperf is the one that MLPerf Tiny runners drive (docs/mlperf.md).")  # fmt: skip
@click.option(
    "--target", help="Which payload; may be left out when the bundle holds one, or one for the board."
)
@click.option("--service", "station", type=click.Path(path_type=Path, dir_okay=False), metavar="STATION.toml",
              help="Then write a systemd unit that runs this station.")  # fmt: skip
@click.option(
    "--service-name", metavar="NAME", help="Name of the unit (default: edge-ad-NODE or the file's name)."
)
@click.option(
    "--service-folder", type=click.Path(path_type=Path), default="/etc/systemd/system", show_default=True
)
@click.option(
    "--service-user", metavar="USER", help="Who it runs as (default: a user that systemd makes for it)."
)
@signature_option
@click.option("--rollback", is_flag=True, help="Go back to the bundle that was live before.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def command(
    bundle: Path | None, addresses: tuple[str, ...], remote_command: str, restart: str | None, wait_s: float,
    dry_run: bool, board: str | None, port: str | None, baud: int, state: Path | None,
    program: str | None,
    firmware: Firmware | None, dialect: Dialect, target: str | None, station: Path | None, service_name: str | None,
    service_folder: Path, service_user: str | None, signed_by: tuple[PublicKey, ...], rollback: bool, as_json: bool,
) -> None:  # fmt: skip
    """Put a bundle on a device: a folder of this machine, devices that ssh reaches, or a board.

    Over ssh, with the keys and the configuration that you have, a device that has edge-ad installed gets the files that
    it lacks, and does there what happens in a folder here; several are flashed at once (docs/deployment.md).

    Into a folder it is copied, every digest is checked, and its golden vectors run with the engine there. On a board
    the model image is sent over the link, and the board checks it and runs its golden vectors. Only then does it go
    live, in one step; what was live stays for --rollback. A bundle that fails its vectors never goes live (exit 4).
    """
    device = board_address(board, port, baud, state)
    if (device is None) == (not addresses):
        raise UsageError(
            "say where to",
            hint="--to dir:/opt/line3, --to ssh://box/opt/line3, --board qemu:mps2-an386 or --port /dev/ttyACM0",
        )
    remote = [address.startswith("ssh:") for address in addresses]
    if len(addresses) > 1 and not all(remote):
        raise UsageError("several devices are flashed at once over ssh only", hint="flash folders one by one")
    for given, option in ((restart, "--restart"), (dry_run or None, "--dry-run")):
        if given is not None and not any(remote):
            raise UsageError(f"{option} goes with --to ssh://…")
    if rollback == (bundle is not None):
        raise UsageError(
            "give either a bundle or --rollback", hint="edge-ad flash part.edgead --to dir:/opt/line3"
        )
    if rollback and signed_by and device is not None:
        raise UsageError(
            "a board keeps no signature", hint="flash the signed bundle again instead of --rollback"
        )
    on_board = BoardOptions(target, signed_by, firmware, program, dialect)
    check_options(board, port, on_board, rollback=rollback)
    if dry_run and rollback:
        raise UsageError("--dry-run tells of a flash, not of --rollback")
    if any(remote):
        from edge_ad.cli.flash_ssh import Options, flash_devices

        options = Options(
            target, signed_by, remote_command, restart, wait_s, dry_run, station, service_name, service_folder,
            service_user,
        )  # fmt: skip
        flash_devices(bundle, addresses, options, as_json)
        return
    if station is not None and not addresses:
        raise UsageError("--service needs --to dir:FOLDER: a station runs on this machine")
    unit = None if station is None else _unit(station, service_name, service_user)
    if device is not None:
        flash_board(bundle, device, on_board, as_json)
    else:
        _flash_folder(bundle, addresses[0], target, signed_by, as_json)
    if unit is not None:
        _install(*unit, service_folder)


def _unit(station: Path, name: str | None, user: str | None) -> tuple[str, str]:
    """The unit's name and text; the station file is read, so that what is wrong in it is known before the flash."""
    import sys

    from edge_ad.runtime.operations.unit import unit_text
    from edge_ad.runtime.station.config import read_station

    config = read_station(station)
    name = name or f"edge-ad-{config.node or station.stem}"
    return name, unit_text(
        name, command=[sys.executable, "-m", "edge_ad"], station=station.absolute(), user=user
    )


def _install(name: str, text: str, folder: Path) -> None:
    from edge_ad.runtime.operations.unit import install_unit

    path = install_unit(text, name, folder)
    errors.print(f"unit {path}", soft_wrap=True, markup=False)
    errors.print(f"enable it: systemctl daemon-reload && systemctl enable --now {name}", soft_wrap=True)


def _flash_folder(
    bundle: Path | None, address: str, target: str | None, signed_by: tuple[PublicKey, ...], as_json: bool
) -> None:
    from edge_ad.runtime.deployment import deploy
    from edge_ad.runtime.deployment import rollback as roll_back

    kind, _, place = address.partition(":")
    if kind != "dir" or not place:
        raise UsageError(
            f"'{address}' is no address to flash to", hint="use dir:FOLDER, e.g. --to dir:/opt/line3"
        )
    root = Path(place)
    with stages() as stage:
        done = stage("roll back" if bundle is None else "flash", 1)
        result = (
            roll_back(root, signed_by=signed_by)
            if bundle is None
            else deploy(bundle, root, target=target, signed_by=signed_by)
        )
        done()
    golden = result.golden
    if as_json:
        print_json(
            {
                "address": address,
                "digest": result.digest,
                "previous": result.previous,
                "target": result.target,
                "golden": {
                    "count": golden.count,
                    "worst_error": golden.worst_error,
                    "allowed": golden.allowed,
                    "ran_on": golden.ran_on,
                },
            }
        )
        return
    out.print(
        f"golden vectors: {golden.count} of {golden.count} agree (worst difference {golden.worst_error:.2g}, "
        f"allowed {golden.allowed:.2g}) on {golden.ran_on}",
        soft_wrap=True,
    )
    out.print(f"live at {address}: {result.digest}", soft_wrap=True)
    out.print(f"previous: {result.previous or 'none'}", soft_wrap=True)
