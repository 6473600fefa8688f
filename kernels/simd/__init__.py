"""The simd backend: eight (or four) integers side by side, in vectors that numba compiles at first use.

    forms        the vector forms, AVX512-IFMA to AVX2, and which one runs here
    lanes        a small assembler for vectors of 64-bit lanes, through LLVM
    bignum       instructions for big integers, written with it
    montgomery   products, squares, powers, combs and segments; formulas and bounds
    words        64-bit words ↔ limbs
    blocks       a kernel over a batch, on all threads
    rounding     floating point towards zero, where products are made of it
    probe        what one core can multiply at best
    cache        where machine code is kept between processes
    constants    what kernels need of a modulus; the layout of a batch in memory
    batch        SimdResidues and index arrays
    fixed_base   fixed-base powers by table
    backend      SimdBackend
    load         whether it runs here, and a self-test

Nothing here is imported before `select` loads it.
"""
