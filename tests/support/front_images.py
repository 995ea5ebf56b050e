"""Images of log-mel features alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from operator_images import operator_image

from edge_ad.compile.integer.image import Image
from edge_ad.compile.integer.records.spectrum import LogMel as Record
from edge_ad.runtime.integer.log_mel import LogMel, tables


def log_mel_image(
    spec: LogMel, means: Sequence[int], gains: Sequence[int], kernels: str = "plain",
    changed: Mapping[str, object] | None = None,
) -> Image:  # fmt: skip
    """int16 samples in, int16 features out. changed: fields of the record that are to be others."""

    def make(builder, source, results):
        made, work = tables(spec), builder.buffer(4 * spec.frame)
        fields = {"frames": spec.frames, "hop": spec.hop, "bands": spec.bands, "floor": spec.floor,
                  "log2_size": spec.frame.bit_length() - 1, "starts": made.starts, "fractions": made.fractions,
                  "offsets": made.offsets, "means": np.array(means, np.int16), "gains": np.array(gains, np.int32),
                  "input": source, "output": results[0], "work": work}  # fmt: skip
        for name, value in {**fields, **(changed or {})}.items():
            fields[name] = builder.constant(value) if isinstance(value, np.ndarray) else value
        return Record(**fields), [work]

    return operator_image(2 * spec.length, [2 * spec.values], make, kernels)
