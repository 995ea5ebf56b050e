"""Layers of an INT8 network that are kept in 16 bits on boards: convolutions and products with int16 in and out.

The graph of the INT8 file is rewritten: a kept layer becomes `convolution16`, with weights made anew of the float
network's. What it takes comes in int16 from the layer before, straight out of that one's accumulator, through pooling
and moves in int16; where an operator between has no int16 form, its INT8 result is widened, which loses nothing but what
INT8 had lost. What it gives stays int16 for kept layers and is rounded to the INT8 steps of the tensor for all others.
"""

from edge_ad.compile.integer.kept.layers import KeptLayer, Layers, keepable, kept_layers
from edge_ad.compile.integer.kept.reference import Mixed
from edge_ad.compile.integer.kept.rewrite import Rewritten, rewritten

__all__ = ["KeptLayer", "Layers", "Mixed", "Rewritten", "keepable", "kept_layers", "rewritten"]
