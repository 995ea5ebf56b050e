"""`edge-ad inspect`."""

from __future__ import annotations

from pathlib import Path

import click

from edge_ad.bundle.manifest import Budget, Manifest, Payload, Threshold
from edge_ad.bundle.signature import PublicKey
from edge_ad.cli.options import out, print_json, signature_option


@click.command("inspect")
@click.argument("bundle")
@click.option("--json", "as_json", is_flag=True, help="Print the manifest and the digest as JSON.")
@click.option(
    "--report", type=click.Path(path_type=Path), help="Write the bundle's HTML report to this file."
)
@signature_option
def command(bundle: str, as_json: bool, report: Path | None, signed_by: tuple[PublicKey, ...]) -> None:
    """Show what is in a bundle, after checking every digest in it.

    BUNDLE is a .edgead file or dir:/opt/line3.
    """
    from edge_ad.bundle.atomic import write_atomic
    from edge_ad.bundle.signature import signers
    from edge_ad.errors import BundleError
    from edge_ad.runtime.deployment import check_files, load

    with load(bundle, signed_by=signed_by) as live:
        manifest, digest = live.manifest, live.digest
        fingerprints = signers(live.signatures, where=bundle)
        check_files(live.folder, manifest)
        if report is not None:
            if manifest.report is None:
                raise BundleError("holds no report", where=bundle)
            write_atomic(report, (live.folder / manifest.report).read_bytes())
    if as_json:
        told = {"digest": digest, "signed_by": list(fingerprints)}
        print_json({**told, "manifest": manifest.model_dump(mode="json", by_alias=True)})
        return
    _show(manifest, digest)
    checked = "one of them checked" if signed_by else "not checked: --require-signature KEY.pub does"
    for fingerprint in fingerprints:
        out.print(f"signed    by key {fingerprint} ({checked})", soft_wrap=True)
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
        _show_payload(payload, manifest.input.noun)


def _show_payload(payload: Payload, noun: str) -> None:
    out.print(
        f"[bold]{payload.target}[/bold]  {payload.precision}, engine {payload.engine}, head {payload.head.name}"
    )
    if payload.input is not None:
        out.print(f"takes {tuple(payload.input.shape)}, {payload.input.preprocess.name}")
    _show_thresholds(payload, noun)
    if (drift := payload.drift) is not None:
        out.print(
            f"drift   on {drift.n} held-back normal {noun}s: rank correlation {drift.rank_correlation:.4f}, "
            f"mean shift {drift.mean_shift:+.3f} sd, verdicts changed {drift.flips_kept:.1%} at the float threshold, "
            f"{drift.flips_recalibrated:.1%} at its own",
            soft_wrap=True,
        )
    for line in budget_lines(payload.budget):
        out.print(line, soft_wrap=True)
    out.print(
        f"golden  {payload.golden.count} vectors, tolerance {payload.golden.rtol:g} relative ({payload.golden.basis})",
        soft_wrap=True,
    )
    for decision in payload.decisions:
        out.print(f"  - {decision}", soft_wrap=True, markup=False)


def _show_thresholds(payload: Payload, noun: str) -> None:
    from rich.table import Table

    if payload.thresholds is None:
        out.print("threshold none: compiled without normal data; run needs --threshold")
        return
    table = Table("threshold", "value", "false alarms wanted", "expected", "95 % interval", "from")
    table.add_row("compiled (in use)", *_threshold(payload.thresholds.compiled, noun))
    if payload.thresholds.float_ is not None:
        table.add_row("float", *_threshold(payload.thresholds.float_, noun))
    out.print(table)
    if (allowed := payload.thresholds.allowed) is not None:
        out.print(
            f"a command may set the threshold from {allowed[0]:.6g} to {allowed[1]:.6g}", soft_wrap=True
        )
    if (band := payload.thresholds.rejection) is not None:
        out.print(
            f"uncertain above {band.lower:.6g} up to {band.upper:.6g}: verdicts less stable than {band.stability:g}; "
            f"{band.expected_rate:.1%} of normal {noun}s are expected there",
            soft_wrap=True,
        )


def budget_lines(budget: Budget) -> list[str]:
    """What a payload costs, as lines of text: of what flash and memory are made and their limits, where known."""
    small = budget.flash_bytes < 10_000_000 and bool(budget.parts)
    costs = (
        f"{budget.macs:,} MAC, {budget.parameters:,} parameters"
        if small
        else f"{budget.macs / 1e9:.3f} GMAC, {budget.parameters / 1e6:.3f} M parameters"
    )
    flash, memory = (
        (f"{n:,} bytes" if small else f"{n / 1e6:.2f} MB") for n in (budget.flash_bytes, budget.ram_bytes)
    )
    verdict = "fits" if budget.fits else "does not fit"
    lines = [f"budget  flash {flash}, memory {memory}, {costs}, {verdict}"]
    if budget.parts:
        parts = ", ".join(f"{name.replace('_', ' ')} {size:,}" for name, size in budget.parts.items())
        lines.append(f"        of which {parts}")
    return lines


def _threshold(threshold: Threshold, noun: str) -> list[str]:
    low, high = threshold.interval
    return [
        f"{threshold.value:.6g}",
        f"{threshold.requested_rate:.2%}",
        f"{threshold.expected_rate:.2%}",
        f"{low:.2%} to {high:.2%}",
        f"{threshold.n} {noun}s",
    ]
