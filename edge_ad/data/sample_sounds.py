"""Generated sample sounds: a humming machine, and the same machine with faults.

For demonstrations and tests that need a whole data set without a download. The faults are plausible, not real:
accuracy on them says nothing about accuracy on a real machine.
"""

from __future__ import annotations

import io
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_ad.data.samples import whole_or_nothing
from edge_ad.errors import DataError, UsageError

RATE_HZ = 16000
LEAST_SECONDS = 1.0
_TURN_HZ = 49.3
_TEETH = 17
_HARMONICS = np.array([1.0, 0.55, 0.2, 0.3, 0.12, 0.08, 0.1, 0.04, 0.05, 0.02])
_LEVEL = 0.05  # of full scale, root mean square

Float64 = npt.NDArray[np.float64]


def machine(rng: np.random.Generator, n: int, *, slip: float = 0.0) -> tuple[Float64, Float64]:
    """(n,) sound of a motor with a gear, and the phase of its shaft in turns. slip: share that it turns too slowly."""
    wander = np.cumsum(rng.standard_normal(n)) * 2e-5
    phase = np.cumsum(_TURN_HZ * (1 - slip) * (1 + wander - wander.mean()) / RATE_HZ) + rng.uniform()
    hum = np.zeros(n)
    for i, level in enumerate(_HARMONICS):
        hum += level * np.sin(2 * np.pi * ((i + 1) * phase + rng.uniform()))
    load = 1 + 0.2 * np.sin(2 * np.pi * (0.7 * np.arange(n) / RATE_HZ + rng.uniform()))
    gear = 0.4 * load * np.sin(2 * np.pi * _TEETH * phase + 0.5 * np.sin(2 * np.pi * phase))
    gear += 0.15 * np.sin(4 * np.pi * _TEETH * phase)
    return hum + gear + _noise(rng, n, 0.3), phase


def _noise(rng: np.random.Generator, n: int, level: float) -> Float64:
    """Air: noise that falls towards high frequencies."""
    white = np.fft.rfft(rng.standard_normal(n))
    hz = np.fft.rfftfreq(n, 1 / RATE_HZ)
    shaped = np.fft.irfft(white / np.sqrt(1 + hz / 300), n)
    return np.asarray(level * shaped / shaped.std())


def _bearing(x: Float64, phase: Float64, rng: np.random.Generator) -> Float64:
    """Balls that strike a pit, 3.6 times a turn, and make the housing ring."""
    strikes = np.flatnonzero(np.diff(np.floor(3.6 * phase)))
    pulses = np.zeros(len(x))
    pulses[strikes] = rng.uniform(0.6, 1.4, len(strikes))
    t = np.arange(RATE_HZ // 50) / RATE_HZ
    ring = np.exp(-t / 0.003) * np.sin(2 * np.pi * 3100 * t)
    return x + 0.9 * np.convolve(pulses, ring)[: len(x)]


def _squeal(x: Float64, phase: Float64, rng: np.random.Generator) -> Float64:
    """A dry belt."""
    t = np.arange(len(x)) / RATE_HZ
    return x + 0.15 * np.sin(2 * np.pi * (5200 * t + 3 * np.sin(2 * np.pi * 6 * t)))


def _rub(x: Float64, phase: Float64, rng: np.random.Generator) -> Float64:
    """Something that the shaft touches once a turn."""
    touch = np.maximum(0, np.cos(2 * np.pi * phase)) ** 8
    return x + 0.5 * touch * rng.standard_normal(len(x))


FAULTS: dict[str, Callable[[Float64, Float64, np.random.Generator], Float64] | None] = {
    "bearing": _bearing,
    "squeal": _squeal,
    "rub": _rub,
    "slip": None,  # the machine itself, slower
}


def recording(rng: np.random.Generator, seconds: float, fault: str | None = None) -> npt.NDArray[np.int16]:
    """(seconds * RATE_HZ,) int16: the machine, or the machine with one of `FAULTS`, as loud as microphones differ."""
    n = round(seconds * RATE_HZ)
    x, phase = machine(rng, n, slip=0.08 if fault == "slip" else 0.0)
    if fault is not None and (change := FAULTS[fault]) is not None:
        x = change(x, phase, rng)
    x *= _LEVEL * 10 ** (rng.uniform(-1, 1) / 20)
    return np.clip(np.rint(x * 32768), -32768, 32767).astype(np.int16)


def make_sounds(
    root: str | Path, seed: int, *, n_train: int = 24, n_test: int = 6, seconds: float = 4.0
) -> Path:
    """Write a sample set below `root` and return it: the same bytes for the same arguments, whole or not at all.

    train/good with n_train recordings (WAV, 16 kHz, 16 bits), test/good and test/<fault> for each of `FAULTS` with
    n_test. Raises DataError when `root` exists and is not an empty folder, or cannot be written; UsageError for
    recordings that are too short or too few.
    """
    if seconds < LEAST_SECONDS or n_train < 1 or n_test < 0:
        raise UsageError(
            f"{n_train} and {n_test} recordings of {seconds:g} s are too little",
            hint=f"at least {LEAST_SECONDS:g} s",
        )
    folder = Path(root)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise DataError(
            "the folder for the sample set exists and is not empty", where=folder, hint="name another"
        )
    kinds: list[tuple[str, str | None, int]] = [("train/good", None, n_train), ("test/good", None, n_test)]
    kinds += [(f"test/{fault}", fault, n_test) for fault in FAULTS]
    try:
        with whole_or_nothing(folder) as partial:
            for i, (name, fault, count) in enumerate(kinds):
                (partial / name).mkdir(parents=True)
                for k in range(count):
                    samples = recording(np.random.default_rng((seed, i, k)), seconds, fault)
                    (partial / name / f"{k:03d}.wav").write_bytes(wav(samples))
    except OSError as error:
        raise DataError(f"cannot write the sample set ({error.strerror})", where=folder) from error
    return folder


def wav(samples: npt.NDArray[np.int16], rate_hz: int = RATE_HZ) -> bytes:
    """A WAV file of samples (n,), or (n, tracks)."""
    held = io.BytesIO()
    with wave.open(held, "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(samples.astype("<i2").tobytes())
    return held.getvalue()
