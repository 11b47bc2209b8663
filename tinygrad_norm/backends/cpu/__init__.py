"""The CPU: blocks that stay in the cache, sums by BLAS, half types, and NumPy without warnings."""
