"""The GPU: finds CuPy; compiles, caches, launches and captures the handwritten kernels."""
