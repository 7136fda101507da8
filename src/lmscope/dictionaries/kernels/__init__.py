"""The k-sparse products of a dictionary as Triton kernels, for CUDA devices; optional."""
