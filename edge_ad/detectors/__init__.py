"""Detectors: network, fit, score head. Host only."""

from __future__ import annotations

import json
from pathlib import Path

from edge_ad.detectors.base import Detector
from edge_ad.errors import ModelError


def load_detector(folder: Path) -> Detector:
    """Load the model folder that `fit` wrote. Raises ModelError, also for a fit that has not finished."""
    from edge_ad.detectors.efficientad import detector as efficientad

    path = folder / efficientad.MODEL_FILE
    hint = "make one with: edge-ad fit efficientad --data PARTS --out MODEL"
    try:
        described = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        unfinished = folder / ".unfinished"
        what = "the fit has not finished" if unfinished.exists() else "is no model folder (no model.json)"
        raise ModelError(
            what, where=folder, hint="run the fit again" if unfinished.exists() else hint
        ) from error
    except (OSError, ValueError) as error:
        raise ModelError("model.json cannot be read", where=folder, hint=hint) from error
    schema = described.get("schema") if isinstance(described, dict) else None
    if schema != efficientad.MODEL_SCHEMA:
        raise ModelError(
            f"was made by another version of edge-ad (schema {str(schema)[:40]!r}, "
            f"this one reads {efficientad.MODEL_SCHEMA})",
            where=folder,
            hint="fit it again with this version",
        )
    if described.get("detector") != efficientad.NAME:
        raise ModelError(f"holds an unknown detector {str(described.get('detector'))[:40]!r}", where=folder)
    return efficientad.EfficientAd.load(folder, described)
