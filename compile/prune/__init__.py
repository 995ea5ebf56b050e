"""Structured pruning of fitted detectors."""

from edge_ad.compile.prune.pruning import DEFAULT_STEPS, Pruned, PruningData, normals_of, prune, sentence

__all__ = ["DEFAULT_STEPS", "Pruned", "PruningData", "normals_of", "prune", "sentence"]
