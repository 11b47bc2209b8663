"""Normalizations of weights."""
