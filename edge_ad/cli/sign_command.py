"""`edge-ad sign`."""

from __future__ import annotations

from pathlib import Path

import click

from edge_ad.cli.options import out, read_password


@click.command("sign")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--key", type=click.Path(path_type=Path), required=True, metavar="NAME.key",
              help="The private key of edge-ad keygen.")  # fmt: skip
@click.option("--password-file", type=click.Path(path_type=Path, dir_okay=False),
              help="Holds the private key's password in its first line.")  # fmt: skip
def command(bundle: Path, key: Path, password_file: Path | None) -> None:
    """Sign a bundle, beside those who signed it before.

    Every digest in it is checked first. The digest of the bundle and all its files stay as they are.
    """
    from edge_ad.bundle.archive import sign_bundle
    from edge_ad.bundle.signature import read_private_key

    digest = sign_bundle(bundle, read_private_key(key, read_password(password_file)))
    out.print(f"signed {bundle} {digest}", soft_wrap=True, markup=False)
