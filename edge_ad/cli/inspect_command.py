"""`edge-ad inspect`."""

from __future__ import annotations

from pathlib import Path

import click

from edge_ad.bundle.manifest import Manifest, Payload, Threshold
from edge_ad.cli.options import out, print_json


@click.command("inspect")
@click.argument("bundle")
@click.option("--json", "as_json", is_flag=True, help="Print the manifest and the digest as JSON.")
@click.option(
    "--report", type=click.Path(path_type=Path), help="Write the bundle's HTML report to this file."
)
def command(bundle: str, as_json: bool, report: Path | None) -> None:
    """Show what is in a bundle, after checking every digest in it.

    BUNDLE is a .edgead file or dir:/opt/line3.
    """
    from edge_ad.bundle.atomic import write_atomic
    from edge_ad.errors import BundleError
    from edge_ad.runtime.deployment import check_files, load

    with load(bundle) as live:
        manifest, digest = live.manifest, live.digest
        check_files(live.folder, manifest)
        if report is not None:
            if manifest.report is None:
                raise BundleError("holds no report", where=bundle)
            write_atomic(report, (live.folder / manifest.report).read_bytes())
    if as_json:
        print_json({"digest": digest, "manifest": manifest.model_dump(mode="json", by_alias=True)})
        return
    _show(manifest, digest)
    if report is not None:
        out.print(f"report written to {report}", soft_wrap=True)


def _show(manifest: Manifest, digest: str) -> None:
    detector = manifest.detector
    size = sum(entry.size for entry in manifest.files.values())
    out.print(f"[bold]{manifest.name}[/bold]  {size / 1e6:.1f} MB, every digest checked", highlight=False)
    out.print(f"digest    {digest}", soft_wrap=True)
    out.print(
        f"detector  {detector.name} {detector.preset}, input {tuple(manifest.input.shape)} {manifest.input.dtype}"
    )
    if detector.teacher is not None:
        out.print(
            f"teacher   {detector.teacher['name']}, sha256 {detector.teacher['sha256']}", soft_wrap=True
        )
    for payload in manifest.payloads:
        out.print()
        _show_payload(payload)


def _show_payload(payload: Payload) -> None:
    from rich.table import Table

    drift, budget = payload.drift, payload.budget
    out.print(
        f"[bold]{payload.target}[/bold]  {payload.precision}, engine {payload.engine}, head {payload.head.name}"
    )
    table = Table("threshold", "value", "false alarms wanted", "expected", "95 % interval", "from")
    table.add_row("compiled (in use)", *_threshold(payload.thresholds.compiled))
    table.add_row("float", *_threshold(payload.thresholds.float_))
    out.print(table)
    out.print(
        f"drift   on {drift.n} held-back good images: rank correlation {drift.rank_correlation:.4f}, "
        f"mean shift {drift.mean_shift:+.3f} sd, verdicts changed {drift.flips_kept:.1%} at the float threshold, "
        f"{drift.flips_recalibrated:.1%} at its own",
        soft_wrap=True,
    )
    out.print(
        f"budget  flash {budget.flash_bytes / 1e6:.2f} MB, memory {budget.ram_bytes / 1e6:.2f} MB, "
        f"{budget.macs / 1e9:.3f} GMAC, {budget.parameters / 1e6:.3f} M parameters, "
        f"{'fits' if budget.fits else 'does not fit'}",
        soft_wrap=True,
    )
    out.print(
        f"golden  {payload.golden.count} vectors, tolerance {payload.golden.rtol:g} relative ({payload.golden.basis})",
        soft_wrap=True,
    )
    for decision in payload.decisions:
        out.print(f"  - {decision}", soft_wrap=True, markup=False)


def _threshold(threshold: Threshold) -> list[str]:
    low, high = threshold.interval
    return [
        f"{threshold.value:.6g}",
        f"{threshold.requested_rate:.2%}",
        f"{threshold.expected_rate:.2%}",
        f"{low:.2%} to {high:.2%}",
        f"{threshold.n} images",
    ]
