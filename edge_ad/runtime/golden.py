"""Golden vectors: inputs with the outputs and scores that the compiling host got, by which a device proves itself."""

from __future__ import annotations

import io
import math
import os
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edge_ad.bundle.manifest import Golden, HeadSpec, Payload
from edge_ad.bundle.names import shown
from edge_ad.errors import BundleError, EngineError, ParityError
from edge_ad.runtime.engines.base import Engine, Tensor
from edge_ad.runtime.heads import INPUT, evaluate

SCORE = "score"
_INPUT_DTYPES = ("uint8", "int8", "float32")  # as `InputSpec.dtype`
_COMPILE_AGAIN = "compile the bundle again"


@dataclass(frozen=True)
class GoldenResult:
    """How far this machine is from the golden vectors.

    worst_output, worst_vector (from 0) and worst_error: where the difference uses up most of what is allowed, and
    how large it is, in that output's unit; infinite where a value is not finite. allowed: the largest difference
    that passes there. elapsed_s: time of all inferences and scores. ran_on: engine and provider.
    """

    passed: bool
    count: int
    worst_output: str
    worst_vector: int
    worst_error: float
    allowed: float
    elapsed_s: float
    ran_on: str = ""

    def require(self, *, where: str | os.PathLike[str] | None = None) -> None:
        """Raise ParityError, naming the worst difference, unless every vector agrees."""
        if self.passed:
            return
        place = f"golden vector {self.worst_vector}: '{shown(self.worst_output)}'"
        if math.isinf(self.worst_error):
            what = f"{place} is not finite"
        else:
            what = f"{place} differs by {self.worst_error:.3g} from the host's, allowed is {self.allowed:.3g}"
        raise ParityError(
            what,
            where=where,
            hint="use the engine version that the bundle was compiled with, or compile it on a machine like this",
        )


def npz_bytes(arrays: Mapping[str, Tensor]) -> bytes:
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
    """The .npz of golden vectors that `engine` gives: `input` (K, …), `score` (K,) and one array (K, …) an output; that
    of an output that is called `score` itself stands there as `output.score`.

    inputs: K batches of the network's shape (1, …) and dtype. outputs: which of the engine's outputs to hold.
    Equal arguments give equal bytes. Raises EngineError for a network that lacks one of the outputs, calls one
    `input`, or gives a value that is not finite; such a payload could prove nothing.
    """
    if not inputs:
        raise EngineError("no input to make golden vectors from")
    if INPUT in outputs:
        raise EngineError(f"the network calls an output '{INPUT}'", hint="give it another name")
    results = [_run(batch, engine, head, outputs) for batch in inputs]
    arrays = {key: np.concatenate([result[key] for result in results]) for key in _keys(outputs)}
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise EngineError(f"the network gives values of '{shown(name)}' that are not finite")
    return npz_bytes({**arrays, INPUT: np.concatenate(inputs)})


def check_golden(payload: Payload, folder: Path, engine: Engine) -> GoldenResult:
    """Run the golden vectors of `payload`, whose files lie under `folder`, through `engine`, one at a time.

    Outputs and scores are compared by the rule of `edge_ad.bundle.manifest.Golden`; a value that is not finite
    fails. Disagreement is no error here, see `GoldenResult.require`. Raises BundleError for vectors that cannot
    be read or do not fit the payload, EngineError when the network lacks an output or refuses an input.
    """
    path = folder / payload.golden.file
    references = _read(path, payload)
    start = time.perf_counter()
    got = [_run(one[None], engine, payload.head, payload.outputs) for one in references[INPUT]]
    elapsed_s = time.perf_counter() - start
    results = [
        result
        for key in _keys(payload.outputs)
        for result in _compare(key, [g[key] for g in got], references[key], payload.golden, elapsed_s, path)
    ]
    return replace(max(results, key=_share_of_allowed), ran_on=str(engine.describe()))


def golden_inputs(payload: Payload, folder: Path) -> list[Tensor]:
    """The inputs of its golden vectors, one batch (1, …) each. Raises BundleError."""
    batches = _read(folder / payload.golden.file, payload)[INPUT]
    return [batch[None] for batch in batches]


def _key(output: str) -> str:
    """What the array of an output is called beside that of the scores."""
    return f"output.{output}" if output == SCORE else output


def _keys(outputs: Sequence[str]) -> list[str]:
    return [*map(_key, outputs), SCORE]


def _share_of_allowed(result: GoldenResult) -> float:
    if result.worst_error == 0:
        return 0.0
    return result.worst_error / result.allowed if result.allowed else math.inf


def _compare(
    name: str, got: list[Tensor], reference: Tensor, golden: Golden, elapsed_s: float, where: Path
) -> list[GoldenResult]:
    """One result for each vector of the output `name`; got: K arrays (1, …), reference: (K, …)."""
    expected = reference.astype(np.float64)
    peaks = np.abs(expected).reshape(len(expected), -1).max(axis=1, initial=0.0)
    # A vector of its own peak, so that noise does not loosen what is asked of a normal input; but a score is one
    # number, where an offset may leave next to nothing of terms that are not small.
    scales = np.full_like(peaks, peaks.max()) if name == SCORE else peaks
    results = []
    for index, (actual, wanted) in enumerate(zip(got, expected, strict=True)):
        if actual.shape != (1, *wanted.shape):
            raise BundleError(
                f"output '{shown(name)}' is {actual.shape}, its golden vectors are {(1, *wanted.shape)}",
                where=where,
                hint=_COMPILE_AGAIN,
            )
        allowed = golden.atol + golden.rtol * float(scales[index])
        finite = bool(np.isfinite(actual).all())
        error = float(np.abs(actual[0].astype(np.float64) - wanted).max(initial=0.0)) if finite else math.inf
        results.append(GoldenResult(error <= allowed, len(expected), name, index, error, allowed, elapsed_s))
    return results


def _run(batch: Tensor, engine: Engine, head: HeadSpec, outputs: Sequence[str]) -> dict[str, Tensor]:
    """The named outputs and the score (1,) of one batch (1, …); the score is NaN where there is no finite one."""
    results = engine.infer(batch)
    for name in outputs:
        if name not in results:
            held = ", ".join(map(shown, results))
            raise EngineError(f"the network has no output '{shown(name)}'", hint=f"it has: {held}")
    held_outputs = {name: np.asarray(results[name]) for name in outputs}
    try:
        with np.errstate(invalid="ignore", over="ignore"):  # reported as a disagreement
            score: Tensor = evaluate(head, {INPUT: batch, **held_outputs}, engine.parts).scores
    except EngineError:
        score = np.full(1, np.nan, np.float32)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise BundleError(
            f"the parameters of score head '{shown(head.name)}' do not fit the network ({shown(repr(error))})",
            hint=_COMPILE_AGAIN,
        ) from error
    return {**{_key(name): array for name, array in held_outputs.items()}, SCORE: score}


def _read(path: Path, payload: Payload) -> dict[str, Tensor]:
    """The arrays of the golden .npz at `path`, K = `payload.golden.count` of each."""
    wanted = {f"{key}.npy": key for key in (INPUT, *_keys(payload.outputs))}
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            held = sorted(info.filename for info in members)
            fits = held == sorted(wanted)
            arrays = {wanted[info.filename]: _array(archive, info) for info in members if fits}
    except Exception as error:  # the readers of ZIP and .npy answer hostile bytes with errors of any kind
        cause = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise BundleError(
            f"golden vectors cannot be read ({shown(cause)})", where=path, hint=_COMPILE_AGAIN
        ) from error
    if not fits:
        raise BundleError(
            f"golden vectors hold {shown(', '.join(held))} where {', '.join(sorted(wanted))} should be",
            where=path,
            hint=_COMPILE_AGAIN,
        )
    for name, array in arrays.items():
        if reason := _unfit(name, array, payload.golden.count):
            raise BundleError(f"golden array '{shown(name)}' {reason}", where=path, hint=_COMPILE_AGAIN)
    return arrays


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Tensor:
    # Stored only, so that an array in memory is never larger than the file, whose size was checked.
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
