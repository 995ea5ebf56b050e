"""`edge-ad targets`."""

from __future__ import annotations

import click

from edge_ad.cli.options import out, print_json


@click.command("targets")
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
def command(as_json: bool) -> None:
    """List the targets and what they can do."""
    from rich.table import Table

    from edge_ad import targets

    known = [targets.get(name) for name in targets.names()]
    if as_json:
        print_json(
            [
                {"name": t.name, "title": t.title, "engine": t.engine, "precisions": list(t.precisions),
                 "scheme": t.scheme, "limits": t.limits}
                for t in known
            ]
        )  # fmt: skip
        return
    table = Table("target", "device", "precisions", "quantization")
    for t in known:
        table.add_row(t.name, t.title, ", ".join(t.precisions), t.scheme)
    out.print(table)
