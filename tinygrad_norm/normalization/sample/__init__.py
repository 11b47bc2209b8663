"""Normalizations whose statistics belong to one sample."""
