"""Mutants: small faults planted in the package, of which each must make a test fail."""
