"""`edge-ad infer`."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click
import numpy as np

from edge_ad.bundle.signature import PublicKey
from edge_ad.cli.options import out, print_json, signature_option
from edge_ad.cli.payloads import board_address, board_options, open_payload, provider_option


@click.command("infer")
@click.argument("bundle")
@click.option("--target", help="Which payload; may be left out when the bundle holds one.")
@click.option("--input", "input_", type=click.Path(path_type=Path), required=True,
              help="An .npy of network inputs, (N, …) or one; or images, scans, series (file, folder).")  # fmt: skip
@click.option("--output", type=click.Path(path_type=Path), required=True, help="The .npz to write.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads of the engine.")
@provider_option
@signature_option
@board_options
@click.option("--json", "as_json", is_flag=True, help="Print scores and engine as JSON.")
def command(
    bundle: str, target: str | None, input_: Path, output: Path, threads: int | None, require_provider: str | None,
    board: str | None, port: str | None, baud: int, state: Path | None, signed_by: tuple[PublicKey, ...], as_json: bool,
) -> None:  # fmt: skip
    """Raw network outputs and scores of a payload.

    BUNDLE is a .edgead file or dir:/opt/line3. An .npy is taken as it is (the network's own input: preprocessed
    pixels; numbers for an INT8 network are quantized); images, scans and series go through the bundle's
    preprocessing. The .npz holds one array an output, `score` (N,), and further figures of the head that cost nothing.
    """
    from edge_ad.bundle.atomic import write_atomic
    from edge_ad.runtime.deployment import load
    from edge_ad.runtime.golden import npz_bytes
    from edge_ad.runtime.heads import INPUT, evaluate
    from edge_ad.runtime.recorded import read_inputs

    with load(bundle, target=target, signed_by=signed_by) as live, contextlib.ExitStack() as opened:
        address = board_address(board, port, baud, state)
        payload, engine = open_payload(live, target, address, threads, opened, require_provider)
        batch = read_inputs(input_, live.manifest.input_of(payload))
        results = [engine.infer(one[None]) for one in batch]
        arrays = {name: np.concatenate([r[name] for r in results]) for name in payload.outputs}
        heads = [
            evaluate(payload.head, {INPUT: one[None], **r}, engine.parts)
            for one, r in zip(batch, results, strict=True)
        ]
        scores = np.concatenate([head.scores for head in heads])
        also = {name: np.concatenate([head.also[name] for head in heads]) for name in heads[0].also}
        info = engine.describe()
    write_atomic(output, npz_bytes({**arrays, **also, "score": scores}))
    threshold = None if payload.thresholds is None else payload.threshold()
    band = None if payload.thresholds is None else payload.thresholds.rejection
    if as_json:
        print_json(
            {
                "target": payload.target,
                "scores": [float(s) for s in scores],
                "also": {name: [float(v) for v in values] for name, values in also.items()},
                "threshold": threshold,
                "outputs": {name: list(a.shape) for name, a in arrays.items()},
                "engine": {**vars(info)},
            }
        )
        return
    for index, value in enumerate(scores):
        verdict = (
            ""
            if threshold is None
            else f" {'above' if value > threshold else 'within'} threshold {threshold:.6g}"
        )
        if band is not None and band.lower < value <= band.upper:
            verdict += ", uncertain"
        out.print(f"{index}: score {value:.6g}{verdict}")
    out.print(f"{payload.target} on {info}", soft_wrap=True)
