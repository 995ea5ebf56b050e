"""Stripes: a run of operators computed a few rows at a time, so that its activations are never whole in the arena.

The first layers of a network of images have its largest activations. Cut into stripes, they need memory for as many
rows as the next layer's windows reach over (patch-based inference: Lin et al., "MCUNetV2", arXiv 2110.15352,
section 3). There each patch computes the rows that it shares with its neighbours again; here a tensor keeps them for
the next stripe, moved to the beginning of its memory, so that no product is computed twice. Each part of an operator
is an ordinary record over a tensor of fewer rows: kernels know nothing of it, and every bit stays as it was.
"""

from edge_ad.compile.integer.striping.choose import choices
from edge_ad.compile.integer.striping.layout import Region
from edge_ad.compile.integer.striping.rewrite import striped

__all__ = ["Region", "choices", "striped"]
