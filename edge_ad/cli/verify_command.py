"""`edge-ad verify`."""

from __future__ import annotations

from contextlib import closing

import click

from edge_ad.cli.options import out, print_json


@click.command("verify")
@click.argument("bundle")
@click.option("--target", help="Which payload; may be left out when the bundle holds one.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads of the engine.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def command(bundle: str, target: str | None, threads: int | None, as_json: bool) -> None:
    """Run a bundle's golden vectors on this machine; exit 4 when it disagrees with the host that compiled it.

    BUNDLE is a .edgead file or dir:/opt/line3.
    """
    from edge_ad.runtime.deployment import load
    from edge_ad.runtime.engines import open_engine
    from edge_ad.runtime.golden import check_golden

    with load(bundle, target=target) as live:
        payload = live.manifest.payload(target or live.target)
        options = {} if threads is None else {"threads": threads}
        with closing(open_engine(payload, live.folder, **options)) as engine:
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
        out.print(f"on {info.engine} {info.version}, {info.isa}, {info.precision}", soft_wrap=True)
