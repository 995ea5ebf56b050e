"""Layers of an INT8 network that are kept in 16 bits on boards: convolutions and products with int16 in and out.

The INT8 file's graph is rewritten: a kept layer becomes `convolution16`, with weights made anew of the float ones. What
it takes comes in int16 from the layer before, straight out of that one's accumulator, through pooling and moves in
int16; where an operator between has no int16 form, its INT8 result is widened, which loses nothing but what INT8 had
lost. What it gives stays int16 for kept layers; for all others it is rounded to the INT8 steps of the tensor.
"""

from edge_ad.compile.integer.kept.layers import KeptLayer, Layers, keepable, kept_layers
from edge_ad.compile.integer.kept.ranges import FINER
from edge_ad.compile.integer.kept.reference import Mixed
from edge_ad.compile.integer.kept.rewrite import Rewritten, rewritten

__all__ = ["FINER", "KeptLayer", "Layers", "Mixed", "Rewritten", "keepable", "kept_layers", "rewritten"]
