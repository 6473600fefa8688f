"""CUDA backend: batches of residues on NVIDIA GPUs.

    abi.py      every kernel's name, parameters and meaning; what a row is
    src/        the kernels: *.cuh arithmetic, *.cu entry points by family
"""
