"""Normalizations that also take out the correlations of channels."""
