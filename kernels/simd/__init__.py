"""The simd backend: eight integers side by side, in vectors that numba compiles at first use.

    lanes        a small assembler for vectors of eight 64-bit lanes, through LLVM
    ifma         big-integer instructions written with it (AVX512-IFMA, radix 2^52)
    montgomery   products, squares, powers, combs and segments of eight integers; formulas and bounds
    words        64-bit words ↔ 52-bit limbs
    cache        where machine code is kept between processes
    constants    what kernels need of a modulus; the layout of a batch in memory
    batch        SimdResidues and index arrays
    fixed_base   fixed-base powers by table
    backend      SimdBackend
    load         whether it runs here, and a self-test

Nothing here is imported before `select` loads it.
"""
