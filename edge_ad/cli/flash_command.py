"""`edge-ad flash`."""

from __future__ import annotations

from pathlib import Path

import click

from edge_ad.cli.options import out, print_json, stages
from edge_ad.errors import UsageError


@click.command("flash")
@click.argument("bundle", required=False, type=click.Path(path_type=Path))
@click.option("--to", "address", required=True, metavar="dir:FOLDER", help="Where to, e.g. dir:/opt/line3.")
@click.option("--target", help="Which payload; may be left out when the bundle holds one.")
@click.option("--rollback", is_flag=True, help="Go back to the bundle that was live before.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def command(bundle: Path | None, address: str, target: str | None, rollback: bool, as_json: bool) -> None:
    """Put a bundle on a device.

    It is copied, every digest is checked, and its golden vectors run with the engine there. Only then does it go
    live, in one step; the bundle that was live stays for --rollback. One that fails its vectors never goes live
    (exit 4).
    """
    from edge_ad.runtime.deployment import deploy
    from edge_ad.runtime.deployment import rollback as roll_back

    kind, _, place = address.partition(":")
    if kind != "dir" or not place:
        raise UsageError(
            f"'{address}' is no address to flash to", hint="use dir:FOLDER, e.g. --to dir:/opt/line3"
        )
    root = Path(place)
    if rollback == (bundle is not None):
        raise UsageError(
            "give either a bundle or --rollback", hint="edge-ad flash part.edgead --to dir:/opt/line3"
        )
    with stages() as stage:
        done = stage("roll back" if rollback else "flash", 1)
        result = roll_back(root) if bundle is None else deploy(bundle, root, target=target)
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
                },
            }
        )
        return
    out.print(
        f"golden vectors: {golden.count} of {golden.count} agree (worst difference {golden.worst_error:.2g}, "
        f"allowed {golden.allowed:.2g})",
        soft_wrap=True,
    )
    out.print(f"live at {address}: {result.digest}", soft_wrap=True)
    out.print(f"previous: {result.previous or 'none'}", soft_wrap=True)
