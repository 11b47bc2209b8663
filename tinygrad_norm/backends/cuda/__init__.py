"""The GPU: finds CuPy, and compiles, caches, launches and captures the handwritten kernels."""
