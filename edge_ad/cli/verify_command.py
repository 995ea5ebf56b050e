"""`edge-ad verify`."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from edge_ad.bundle.signature import PublicKey
from edge_ad.cli.options import out, print_json, signature_option
from edge_ad.cli.payloads import board_address, board_options, open_payload, provider_option


@click.command("verify")
@click.argument("bundle")
@click.option("--target", help="Which payload; may be left out when the bundle holds one.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads of the engine.")
@provider_option
@signature_option
@board_options
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def command(
    bundle: str, target: str | None, threads: int | None, require_provider: str | None,
    board: str | None, port: str | None, baud: int, state: Path | None, signed_by: tuple[PublicKey, ...], as_json: bool,
) -> None:  # fmt: skip
    """Run a bundle's golden vectors on this machine or a board; exit 4 when it disagrees with the host that compiled
    it.

    BUNDLE is a .edgead file or dir:/opt/line3. On a QEMU board it also counts the instructions of an inference.
    """
    from edge_ad.runtime.deployment import load
    from edge_ad.runtime.golden import check_golden

    with load(bundle, target=target, signed_by=signed_by) as live, contextlib.ExitStack() as opened:
        address = board_address(board, port, baud, state, count=True)
        payload, engine = open_payload(live, target, address, threads, opened, require_provider)
        result = check_golden(payload, live.folder, engine)
        info = engine.describe()
    if as_json:
        print_json({**vars(result), "engine": {**vars(info)}})
    result.require()
    if not as_json:
        out.print(
            f"{payload.target}: {result.count} golden vectors agree (worst difference {result.worst_error:.2g} in "
            f"'{result.worst_output}', allowed {result.allowed:.2g})",
            soft_wrap=True,
        )
        out.print(f"on {info}", soft_wrap=True)
        if "nodes" in info.details:
            out.print(f"nodes: {info.details['nodes']}", soft_wrap=True)
        if info.details.get("stack", "0") != "0":
            arena, static, stack, used = (
                int(info.details[key]) for key in ("arena", "static", "stack", "stack_used")
            )
            out.print(
                f"memory: arena {arena:,}, static {static:,}, stack at most {used:,} of {stack:,} bytes"
            )
        if "instructions" in info.details:
            out.print(f"{int(info.details['instructions']):,} instructions an inference")
