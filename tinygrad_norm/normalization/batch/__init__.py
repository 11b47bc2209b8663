"""Normalizations whose statistics are shared by the samples of a batch."""
