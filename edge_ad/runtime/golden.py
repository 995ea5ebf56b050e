"""Golden vectors: inputs with the outputs and scores that the compiling host got, by which a device proves itself."""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_ad.bundle.manifest import Golden, HeadSpec, Payload
from edge_ad.bundle.names import shown
from edge_ad.errors import BundleError, EngineError, ParityError
from edge_ad.runtime.engines.base import Engine, Tensor
from edge_ad.runtime.heads import evaluate

INPUT = "input"
SCORE = "score"
_INPUT_DTYPES = ("uint8", "float32")  # as `InputSpec.dtype`
_COMPILE_AGAIN = "compile the bundle again"


@dataclass(frozen=True)
class GoldenResult:
    """How far this machine is from the golden vectors.

    worst_output, worst_vector (from 0) and worst_error: where the difference uses up most of what is allowed, and
    how large it is, in that output's unit; infinite where a value is not finite. allowed: the largest difference
    that passes there.
    """

    passed: bool
    count: int
    worst_output: str
    worst_vector: int
    worst_error: float
    allowed: float

    def require(self, *, where: str | os.PathLike[str] | None = None) -> None:
        """Raise ParityError, naming the worst difference, unless every vector agrees."""
        if self.passed:
            return
        place = f"{shown(self.worst_output)} of golden vector {self.worst_vector + 1} of {self.count}"
        if math.isinf(self.worst_error):
            what = f"{place} is not finite"
        else:
            what = f"{place} differs by {self.worst_error:.3g} from the host's, allowed is {self.allowed:.3g}"
        raise ParityError(
            what,
            where=where,
            hint="use the engine version that the bundle was compiled with, or compile it on a machine like this",
        )


def npz_bytes(arrays: Mapping[str, npt.NDArray[np.generic]]) -> bytes:
    """An .npz of `arrays`, the same bytes for the same content: sorted, uncompressed, without the time of day."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            content = io.BytesIO()
            array = np.asarray(arrays[name], order="C")
            np.lib.format.write_array(content, array, version=(1, 0), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system = 3  # Unix, wherever this runs
            info.external_attr = 0o644 << 16
            archive.writestr(info, content.getvalue())
    return buffer.getvalue()


def make_golden(inputs: Sequence[Tensor], engine: Engine, head: HeadSpec, outputs: Sequence[str]) -> bytes:
    """The .npz of golden vectors that `engine` gives: `input` (K, …), `score` (K,) and one array (K, …) an output.

    inputs: K batches of the network's shape (1, …). outputs: which of the engine's outputs to hold. Raises
    EngineError for a network that lacks one of them, calls one `input` or `score`, or gives a value that is not
    finite; such a payload could prove nothing.
    """
    if not inputs:
        raise EngineError("no input to make golden vectors from")
    if reserved := {INPUT, SCORE}.intersection(outputs):
        raise EngineError(f"the network calls an output '{reserved.pop()}'", hint="give it another name")
    results = [_run(batch, engine, head, outputs) for batch in inputs]
    for name in (*outputs, SCORE):
        if not all(np.isfinite(result[name]).all() for result in results):
            raise EngineError(f"the network gives values of {shown(name)} that are not finite")
    arrays = {name: np.concatenate([result[name] for result in results]) for name in (*outputs, SCORE)}
    return npz_bytes({**arrays, INPUT: np.concatenate(inputs)})


def check_golden(payload: Payload, folder: Path, engine: Engine) -> GoldenResult:
    """Run the golden vectors of `payload`, whose files lie under `folder`, through `engine`, one at a time.

    Outputs and scores are compared by the rule of `edge_ad.bundle.manifest.Golden`, where max|r| is over all
    vectors: a map that is all but zero on one of them is held to the output's own scale, not to nothing. A value
    that is not finite fails. Raises BundleError for vectors that cannot be read or do not fit the payload, and
    whatever `engine` raises when it refuses an input.
    """
    path = folder / payload.golden.file
    references = _read(path, payload)
    got = [_run(one[None], engine, payload.head, payload.outputs, where=path) for one in references[INPUT]]
    rows = [
        row
        for name in (*payload.outputs, SCORE)
        for row in _compare(name, [result[name] for result in got], references[name], payload.golden, path)
    ]
    return max(rows, key=_share_of_allowed)


def _share_of_allowed(row: GoldenResult) -> tuple[bool, float, float]:
    share = row.worst_error / row.allowed if row.allowed else math.inf if row.worst_error else 0.0
    return not row.passed, share, row.worst_error


def _compare(
    name: str, got: list[Tensor], reference: Tensor, golden: Golden, where: Path
) -> list[GoldenResult]:
    """One result for each vector of the output `name`; got: K arrays (1, …), reference: (K, …)."""
    expected = reference.astype(np.float64)
    allowed = golden.atol + golden.rtol * float(np.abs(expected).max(initial=0.0))
    rows = []
    for index, (actual, wanted) in enumerate(zip(got, expected, strict=True)):
        if actual.shape != (1, *wanted.shape):
            raise BundleError(
                f"output {shown(name)} is {actual.shape}, its golden vectors are {(1, *wanted.shape)}",
                where=where,
                hint=_COMPILE_AGAIN,
            )
        finite = bool(np.isfinite(actual).all())
        error = float(np.abs(actual[0].astype(np.float64) - wanted).max(initial=0.0)) if finite else math.inf
        rows.append(GoldenResult(error <= allowed, len(expected), name, index, error, allowed))
    return rows


def _run(
    batch: Tensor, engine: Engine, head: HeadSpec, outputs: Sequence[str], *, where: Path | None = None
) -> dict[str, Tensor]:
    """The named outputs and the score (1,) of one batch (1, …); the score is NaN where an output is not finite."""
    results = engine.infer(batch)
    if missing := [name for name in outputs if name not in results]:
        raise EngineError(
            f"the network has no output {shown(missing[0])}",
            where=where,
            hint=f"it has: {', '.join(map(shown, results))}",
        )
    held = {name: np.asarray(results[name]) for name in outputs}
    if not all(np.isfinite(tensor).all() for tensor in held.values()):
        return {**held, SCORE: np.full(1, np.nan, np.float32)}
    try:
        return {**held, SCORE: evaluate(head, held).scores}
    except (
        KeyError,
        TypeError,
        ValueError,
        IndexError,
    ) as error:  # what a head of wrong parameters runs into
        raise BundleError(
            f"the parameters of score head {shown(head.name)} do not fit the network ({shown(repr(error))})",
            where=where,
            hint=_COMPILE_AGAIN,
        ) from error
    except EngineError:  # finite outputs whose score overflows
        return {**held, SCORE: np.full(1, np.nan, np.float32)}


def _read(path: Path, payload: Payload) -> dict[str, Tensor]:
    """The arrays of the golden .npz at `path`, K = `payload.golden.count` of each."""
    wanted = {INPUT, SCORE, *payload.outputs}
    try:
        with zipfile.ZipFile(path) as archive:
            held = {info.filename: info for info in archive.infolist()}
            if set(held) != {f"{name}.npy" for name in wanted} or len(archive.infolist()) != len(held):
                raise BundleError(
                    f"holds {shown(', '.join(sorted(held)))} and not one array each of {', '.join(sorted(wanted))}",
                    where=path,
                    hint=_COMPILE_AGAIN,
                )
            arrays = {name: _array(archive, held[f"{name}.npy"]) for name in sorted(wanted)}
    # zipfile and the .npy reader answer hostile bytes with any of these.
    except (OSError, ValueError, TypeError, EOFError, OverflowError, MemoryError, RecursionError,
            RuntimeError, SyntaxError, zipfile.BadZipFile) as error:  # fmt: skip
        raise BundleError(
            f"golden vectors cannot be read ({shown(error)})", where=path, hint=_COMPILE_AGAIN
        ) from error
    for name, array in arrays.items():
        if reason := _unfit(name, array, payload.golden.count):
            raise BundleError(f"golden array {shown(name)} {reason}", where=path, hint=_COMPILE_AGAIN)
    return arrays


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Tensor:
    # Stored only, so that an array in memory is never larger than the file that was checked.
    if info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{info.filename} is compressed")
    array: Tensor = np.lib.format.read_array(io.BytesIO(archive.read(info)), allow_pickle=False)
    return array


def _unfit(name: str, array: Tensor, count: int) -> str | None:
    """Why a golden array cannot be used, or None."""
    if array.ndim == 0 or len(array) != count:
        return f"is {array.shape}, not one for each of {count} vectors"
    if name == INPUT:
        return None if array.dtype.name in _INPUT_DTYPES else f"is {array.dtype}, which no network takes"
    if array.dtype.kind not in "fiu":
        return f"is {array.dtype}, not numbers"
    if name == SCORE and array.ndim != 1:
        return f"is {array.shape}, not one number a vector"
    return None if np.isfinite(array).all() else "is not finite"
