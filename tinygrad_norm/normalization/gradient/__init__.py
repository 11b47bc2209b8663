"""Normalizations of gradients."""
