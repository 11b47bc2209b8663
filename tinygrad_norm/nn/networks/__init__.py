"""Residual blocks of whole networks: each from convolutions, a normalization or none, and a sum."""
