"""WAV files as series: values, tracks, rates, and what is wrong with a file."""

from __future__ import annotations

import io
import wave
from pathlib import Path

import numpy as np
import pytest

from edge_ad.bundle.manifest import InputSpec, PreprocessSpec, WindowSpec
from edge_ad.data.sample_sounds import wav
from edge_ad.errors import DataError
from edge_ad.runtime.series import list_series, open_series, open_windowed
from edge_ad.runtime.sources import open_source
from edge_ad.runtime.sources.series import SeriesReplay


def samples(n: int = 9000, tracks: int = 1) -> np.ndarray:
    made = np.random.default_rng(0).integers(-32768, 32768, (n, tracks)).astype(np.int16)
    made[:2] = [[-32768] * tracks, [32767] * tracks]
    return made


def write(folder: Path, content: bytes, name: str = "s.wav") -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def window(rate_hz: float | None = 16000, channels: list[str] | None = None) -> WindowSpec:
    return WindowSpec(length=1000, hop=500, rate_hz=rate_hz, channels=channels or ["c0"])


@pytest.mark.parametrize("tracks", [1, 2])
def test_values_are_samples_of_full_scale(tmp_path: Path, tracks: int) -> None:
    given = samples(tracks=tracks)
    series = open_series(write(tmp_path, wav(given)))
    assert series.channels == tuple(f"c{i}" for i in range(tracks))
    assert (series.rate_hz, series.unit, series.has_time, series.has_labels) == (16000, 2**-15, False, False)
    chunks = list(series.chunks())
    values = np.concatenate([chunk.values for chunk in chunks])
    assert values.dtype == np.float32 and values.min() == -1
    np.testing.assert_array_equal(np.rint(values * 32768), given)
    assert [c.line for c in chunks] == [1, 4097, 8193] and list_series(tmp_path) == [tmp_path / "s.wav"]


def test_one_track_is_taken_by_name(tmp_path: Path) -> None:
    given = samples(tracks=3)
    path = write(tmp_path, wav(given))
    values = np.concatenate([c.values for c in open_series(path, ["c1"]).chunks()])
    np.testing.assert_array_equal(values[:, 0] * 32768, given[:, 1])
    with pytest.raises(DataError, match="has no channel 'left', only c0, c1, c2"):
        open_series(path, ["left"])


def test_another_rate_is_refused_wherever_windows_are_cut(tmp_path: Path) -> None:
    path = write(tmp_path, wav(samples(), 44100))
    assert open_windowed(path, window(44100)).rate_hz == 44100
    assert open_windowed(path, window(None)).rate_hz == 44100
    with pytest.raises(
        DataError, match=r"s\.wav: has 44100 samples a second, the detector was fitted at 16000; resam"
    ):
        open_windowed(path, window())
    with pytest.raises(DataError, match="44100 samples a second"):
        SeriesReplay(path, window())


def _header(content: bytes, at: int, value: bytes) -> bytes:
    return content[:at] + value + content[at + len(value) :]


def test_what_is_wrong_with_a_file_is_told(tmp_path: Path) -> None:
    good = wav(samples())
    for content, message in [
        (b"", "is no WAV file that can be read"),
        (b"RIFF but not really", "is no WAV file that can be read"),
        (good[:30], "is no WAV file that can be read"),
        (
            _header(good, 20, b"\x03\x00"),
            r"is no WAV file that can be read \(unknown format: 3\); convert it",
        ),
        (_eight_bits(), "has samples of 8 bits, 16 are needed; convert it"),
        (wav(samples()[:0]), "holds no samples"),
    ]:
        with pytest.raises(DataError, match=message):
            open_series(write(tmp_path, content))
    with pytest.raises(DataError, match="ends within row 9000"):
        list(open_series(write(tmp_path, good[:-1])).chunks())


def _eight_bits() -> bytes:
    held = io.BytesIO()
    with wave.open(held, "wb") as file:
        file.setparams((1, 1, 16000, 0, "NONE", ""))
        file.writeframes(bytes(100))
    return held.getvalue()


def test_a_folder_of_recordings_is_replayed_each_as_its_own_stream(tmp_path: Path) -> None:
    """And goes on behind the window where it was cut off."""
    for name, n in [("a.wav", 2600), ("b.wav", 1000), ("c.wav", 900)]:
        write(tmp_path, wav(samples(n)[:, 0]), name)
    spec = InputSpec(modality="series", shape=(1, 1, 1000), dtype="float32", window=window(),
                     preprocess=PreprocessSpec(name="none", version=1))  # fmt: skip
    found = list(open_source(str(tmp_path), input=spec))
    assert [s.name for s in found] == ["a.wav#999", "a.wav#1499", "a.wav#1999", "a.wav#2499", "b.wav#999"]
    np.testing.assert_array_equal(found[1].data[:, 0] * 32768, samples(2600)[500:1500, 0])
    again = open_source(str(tmp_path / "a.wav"), input=spec)
    again.resume(found[1].position)
    assert [s.name for s in again] == ["a.wav#1999", "a.wav#2499"]
