"""Benchmarks: several programs do the same work, taking turns in one run; the best of many rounds counts."""
