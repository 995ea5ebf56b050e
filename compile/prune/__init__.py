"""Structured pruning of fitted detectors."""

from edge_ad.compile.prune.pruning import Pruned, PruningData, normals_of, prune

__all__ = ["Pruned", "PruningData", "normals_of", "prune"]
