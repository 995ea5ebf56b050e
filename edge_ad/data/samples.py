"""Generated sample sets: images of a turned flange, good and defective, with exact masks, MVTec-style.

For demonstrations and tests that need a whole data set without a download. Defects are plausible, not real:
accuracy on these images says nothing about accuracy on a production line.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_ad.data.part_defects import DEFECTS, changed
from edge_ad.data.part_scene import Light, Pose, expose, flange, shade
from edge_ad.errors import DataError, UsageError
from edge_ad.runtime.images import import_cv2

_SPLITS = {"train": 0, "test": 1, "defect": 2}  # a stream of random numbers each, so counts do not interact


def render_part(
    seed: int | np.random.SeedSequence, size: int = 256, defect: str | None = None
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """One image (size, size, 3) uint8 RGB of the part, and its mask (size, size), 255 where defective.

    Pose, light, machining marks and noise depend on `seed` alone: with and without a defect, two images of
    one seed are equal outside the mask. defect: a key of `DEFECTS`, or None for a good part. Raises
    UsageError for an unknown defect or a size below 32.
    """
    if defect is not None and defect not in DEFECTS:
        raise UsageError(f"unknown defect '{defect}'", hint=f"there are: {', '.join(DEFECTS)}")
    if size < 32:
        raise UsageError(f"a part of {size} pixels shows nothing", hint="use a size of 32 or more")
    root = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
    setup, grain, noise, flaw = (
        np.random.default_rng(np.random.SeedSequence(root.entropy, spawn_key=(*root.spawn_key, k)))
        for k in range(4)
    )
    good = flange(size, _pose(setup))
    light = _light(setup)
    part = good if defect is None else DEFECTS[defect](good, flaw)
    image = expose(shade(part, light, grain), noise)
    return image, changed(good, part).astype(np.uint8) * 255


def make_parts(
    root: str | Path,
    seed: int,
    *,
    size: int = 256,
    n_train: int = 60,
    n_test_good: int = 20,
    n_defective: int = 24,
) -> Path:
    """Write a sample set below `root` and return it: PNG files, the same bytes for the same arguments.

    train/good, test/good, test/<defect> and ground_truth/<defect>/<name>_mask.png; the defective images are
    dealt out over the kinds in turn. Written to a folder beside it first and renamed when whole.

    Raises DataError when `root` exists and is not an empty folder, or cannot be written; UsageError for
    counts that cannot be.
    """
    folder = Path(root)
    if n_train < 1 or n_test_good < 0 or n_defective < 0:
        raise UsageError(
            f"cannot make {n_train} training, {n_test_good} good and {n_defective} defective images",
            hint="at least one training image is needed",
        )
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise DataError(
            "the folder for the sample set exists and is not empty", where=folder, hint="name another"
        )
    try:
        with whole_or_nothing(folder) as partial:
            for path, split, index, defect in _plan(n_train, n_test_good, n_defective):
                sequence = np.random.SeedSequence(seed, spawn_key=(_SPLITS[split], index))
                image, mask = render_part(sequence, size, defect)
                _write(partial / path, image)
                if defect is not None:
                    _write(partial / "ground_truth" / defect / f"{path.stem}_mask.png", mask)
    except OSError as error:
        raise DataError(f"cannot write the sample set ({error.strerror})", where=folder) from error
    return folder


def _plan(n_train: int, n_test_good: int, n_defective: int) -> Iterator[tuple[Path, str, int, str | None]]:
    for index in range(n_train):
        yield Path("train", "good", f"{index:03d}.png"), "train", index, None
    for index in range(n_test_good):
        yield Path("test", "good", f"{index:03d}.png"), "test", index, None
    kinds = list(DEFECTS)
    for index in range(n_defective):
        kind = kinds[index % len(kinds)]
        yield Path("test", kind, f"{index // len(kinds):03d}.png"), "defect", index, kind


def _pose(rng: np.random.Generator) -> Pose:
    """The part lies in a loose fixture: within 1.5 % of the side and 3 degrees."""
    x, y = rng.uniform(-0.015, 0.015, 2)
    return Pose(x=float(x), y=float(y), angle=float(np.deg2rad(rng.uniform(-3, 3))))


def _light(rng: np.random.Generator) -> Light:
    """One lamp at the upper left; daylight and ageing vary it."""
    return Light(
        azimuth=float(np.deg2rad(-128 + rng.uniform(-7, 7))),
        elevation=float(np.deg2rad(52 + rng.uniform(-3, 3))),
        strength=float(1.08 * rng.uniform(0.94, 1.06)),
        balance=(1 + rng.uniform(-0.015, 0.015, 3)).astype(np.float32),
    )


def _write(path: Path, image: npt.NDArray[np.uint8]) -> None:
    cv2 = import_cv2()
    path.parent.mkdir(parents=True, exist_ok=True)
    done, encoded = cv2.imencode(".png", image[..., ::-1] if image.ndim == 3 else image)
    if not done:
        raise DataError("cannot encode a PNG image", where=path)
    path.write_bytes(encoded.tobytes())


@contextlib.contextmanager
def whole_or_nothing(folder: Path) -> Iterator[Path]:
    """A folder beside `folder` to fill; it takes that name at the end, and is gone after an error."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield partial
        partial.chmod(0o755)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
