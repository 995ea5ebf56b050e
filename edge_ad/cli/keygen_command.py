"""`edge-ad keygen`."""

from __future__ import annotations

from pathlib import Path

import click

from edge_ad.cli.options import out, read_password


@click.command("keygen")
@click.option("--out", "name", type=click.Path(path_type=Path), required=True, metavar="NAME",
              help="Writes NAME.key, for you alone, and NAME.pub, for the devices.")  # fmt: skip
@click.option("--password-file", type=click.Path(path_type=Path, dir_okay=False),
              help="Encrypt the private key with the first line of this file.")  # fmt: skip
def command(name: Path, password_file: Path | None) -> None:
    """Make a pair of ed25519 keys to sign bundles with.

    Files that are there already are never written over: who loses a private key can sign no more for its devices.
    """
    from edge_ad.bundle.signature import make_keys

    private, public = (name.with_name(f"{name.name}.{end}") for end in ("key", "pub"))
    made = make_keys(private, public, read_password(password_file))
    out.print(f"private key {private}: keep it to yourself", soft_wrap=True, markup=False)
    out.print(f"public key  {public}, sha256 {made.fingerprint}", soft_wrap=True, markup=False)
