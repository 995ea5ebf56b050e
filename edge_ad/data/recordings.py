"""Splits of recordings: many short series, of which whole ones go to the fit, to calibration and to the threshold."""

from __future__ import annotations

from pathlib import Path

from edge_ad.bundle.manifest import WindowSpec
from edge_ad.data.series_splits import Rows, SeriesFacts, SeriesPart, SeriesSplits, series_name, split_series
from edge_ad.data.splits import CALIBRATION_SHARE, MIN_INPUTS, THRESHOLD_SHARE, file_sha256
from edge_ad.errors import DataError


def split_recordings(
    root: Path, facts: SeriesFacts, window: WindowSpec, holdout: float | None = None
) -> SeriesSplits:
    """Whole files, in order of name: fit, calibration, threshold; fewer than `MIN_INPUTS` are each split by time.

    A new recording differs more from those of the fit than the next second of one of them does, and the threshold has
    to hold for new ones. holdout: share for the threshold (THRESHOLD_SHARE unless given). Files with the same bytes
    always share a split. Raises DataError when too few files hold a window, and as `split_series` does.
    """
    whole = {path: n for path, n in sorted(facts.rows.items()) if n >= window.length}
    groups: dict[str, list[Path]] = {}
    for path in whole:
        groups.setdefault(file_sha256(path), []).append(path)
    if len(facts.rows) < MIN_INPUTS:
        return split_series(root, facts, window, holdout)
    if len(groups) < MIN_INPUTS:
        raise DataError(
            f"{len(groups)} different recordings hold a window of {window.length} rows, {MIN_INPUTS} are needed",
            where=root, hint="record longer, or fewer and longer series",
        )  # fmt: skip
    share = THRESHOLD_SHARE if holdout is None else holdout
    n_threshold = max(2, round(len(groups) * share))
    n_calibration = max(1, round(len(groups) * CALIBRATION_SHARE))
    n_fit = len(groups) - n_threshold - n_calibration
    parts = []
    for place, (digest, paths) in enumerate(groups.items()):
        for path in paths:
            rows: Rows = (0, whole[path])
            role = 0 if place < n_fit else 1 if place < n_fit + n_calibration else 2
            fit, calibration, threshold = (rows if role == i else (0, 0) for i in range(3))
            parts.append(
                SeriesPart(
                    name=series_name(path, root),
                    sha256=digest,
                    fit=fit,
                    calibration=calibration,
                    threshold=threshold,
                )
            )
    return SeriesSplits(window=window, parts=parts)
