"""`edge-ad infer`."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click
import numpy as np

from edge_ad.bundle.manifest import InputSpec
from edge_ad.bundle.signature import PublicKey
from edge_ad.cli.options import out, print_json, signature_option
from edge_ad.cli.payloads import board_address, board_options, open_payload, provider_option
from edge_ad.errors import DataError


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

    with load(bundle, target=target, signed_by=signed_by) as live, contextlib.ExitStack() as opened:
        address = board_address(board, port, baud, state)
        payload, engine = open_payload(live, target, address, threads, opened, require_provider)
        batch = _read(input_, live.manifest.input)
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


def _read(path: Path, spec: InputSpec) -> np.ndarray:
    """Network inputs (N, *shape[1:]) of the spec's dtype: an .npy as it is, any other file as a source of inputs."""
    from edge_ad.runtime.preprocess import QUANTIZE, preprocess
    from edge_ad.runtime.sources import open_source

    if path.suffix.lower() != ".npy":
        source = open_source(str(path), input=spec)
        try:
            batches = [preprocess(spec.preprocess, sample.data) for sample in source]
        finally:
            source.close()
        if not batches:
            raise DataError(f"gives no {spec.noun}", where=path)
        return np.concatenate(batches)
    try:
        data = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"is no .npy that can be read ({error})", where=path) from error
    one = tuple(spec.shape[1:])
    data = data[None] if data.shape == one else data
    if spec.preprocess.name == QUANTIZE and data.shape[1:] == one and len(data):
        return np.concatenate([preprocess(spec.preprocess, row) for row in data])
    if data.shape[1:] != one or data.dtype != np.dtype(spec.dtype) or not len(data):
        raise DataError(
            f"holds {data.shape} {data.dtype}, the network takes (N, {', '.join(map(str, one))}) {spec.dtype}",
            where=path,
        )
    return data
