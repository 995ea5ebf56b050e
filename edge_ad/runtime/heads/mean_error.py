"""The mean of a network's errors: the score of an autoencoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edge_ad.bundle.names import shown
from edge_ad.runtime.engines.base import Engine, Tensor
from edge_ad.runtime.heads.params import Params, checked, unfit
from edge_ad.runtime.heads.result import HeadResult


def mean_error(
    params: dict[str, Any], outputs: Mapping[str, Tensor], parts: Mapping[str, Engine] | None = None
) -> HeadResult:
    """score = mean over channels of their errors. params: `output` (name of a (N, C) tensor of mean squared errors).

    channels of the result: (N, C), what each channel adds. Raises SchemaError for parameters that are wrong or do not
    fit these outputs.
    """
    found, errors = checked("mean-error", Params, params, outputs)
    if errors.ndim != 2:
        raise unfit("mean-error", f"output '{shown(found.output)}' is {errors.shape}, not (N, C)")
    errors = errors.astype(np.float32, copy=False)
    return HeadResult(
        scores=errors.mean(axis=1, dtype=np.float32), channels=errors / np.float32(errors.shape[1])
    )
