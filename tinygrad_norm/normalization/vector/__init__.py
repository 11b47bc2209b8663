"""Normalizations of vectors by their length."""
