"""Benchmarks: the same work by several programs, interleaved in one run, best of many rounds."""
