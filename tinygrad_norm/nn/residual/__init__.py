"""Scales in the place of norms: what a residual branch is multiplied by before it is added."""
