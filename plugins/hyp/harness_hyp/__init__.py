"""Hyp, pairwise cross-entropy in the Poincaré ball."""
