// The accumulator of a Montgomery product, and the rows of products that are added to it.
//
// The product of a limb y with a lane's K limbs x[0] … x[K−1] is a sum of 64-bit products.  Those of even j do not
// overlap, and those of odd j do not: each set is one carry chain, of which every pair of instructions (low and
// high word of one product) becomes one IMAD.WIDE.  So there are two accumulators, the odd one a word higher:
//
//      word             K      K−1     …     3       2       1       0
//      even            [K]    [x6·y]        [  x2·y   ]     [  x0·y   ]
//      odd      [K]   [  x7·y   ]    …     [  x3·y  ]  [  x1·y  ]
//      late                                                           [ ]
//
//      value of the lane = Σ even[j]·2^(32j) + Σ odd[j]·2^(32(j+1)) + late
//
// One step of a product adds some rows that make the lowest word of the digit 0 and divides by 2^32: every lane
// hands its lowest word to the lane below, where it lands on top; odd becomes even; even[2 … K] becomes odd, and
// even[1] is `late`: its place in the new even accumulator is word 0, where it is added in the next step.
//
// Bounds, with B = 2^32.  A row's products in one accumulator are at most
//
//      P = (B − 1)²·(1 + B² + … + B^(K−2)) = (B − 1)/(B + 1)·(B^K − 1) < B^K − 2·B^(K−1) + 2·B^(K−2)
//
//   odd[K]    0 when a step begins.  The first row does not carry out (see below), each further row at most 1: ≤ 2
//             at the end of a step of three rows.
//   even[K]   ≤ 2 when a step begins, being odd[K] before, and at most 1 more for each row: ≤ 5.
//   odd       after divide(): words even[2 … K − 1], and even[K] plus the word that came in, on top:
//             odd < B^(K−2) + (B − 1 + 5)·B^(K−2) = B^(K−1) + 5·B^(K−2).
//   first row P + odd + 1 < B^K − B^(K−1) + 7·B^(K−2) + 1 < B^K, with 1 for the carry of `late`: no carry out.
#pragma once
#include "lanes.cuh"

// Blocks of four steps in the loop of a product.  At the end of a round the accumulators move back to the registers
// of its beginning, some 30 instructions: half as many with two blocks.  More blocks press on the instruction cache.
constexpr int UNROLLED = 2;

struct Accumulator {
  u32 even[K + 1], odd[K + 1], late;
};

DEVICE void clear(Accumulator &a) {
#pragma unroll
  for (int j = 0; j <= K; j++) a.even[j] = a.odd[j] = 0;
  a.late = 0;
}

// sum[K] += x[0]·y + x[2]·y·2^64 + …, with the carry that the chain has if GOES_ON; the carry out stays in the chain.
template <bool GOES_ON> DEVICE void add_products(u32 *sum, const u32 *x, u32 y) {
#pragma unroll
  for (int j = 0; j < K; j += 2) {
    sum[j] = j > 0 || GOES_ON ? madc_lo_cc(x[j], y, sum[j]) : mad_lo_cc(x[j], y, sum[j]);
    sum[j + 1] = madc_hi_cc(x[j], y, sum[j + 1]);
  }
}

// The first row of a step: a += x·y, and `late` comes in.
DEVICE void add_first_row(Accumulator &a, const u32 *x, u32 y) {
  a.even[0] = add_cc(a.even[0], a.late);
  add_products<true>(a.odd, x + 1, y);
  carry_is_zero();
  add_products<false>(a.even, x, y);
  a.even[K] = addc(a.even[K], 0);
}

// A further row: a += x·y.
DEVICE void add_row(Accumulator &a, const u32 *x, u32 y) {
  add_products<false>(a.even, x, y);
  a.even[K] = addc(a.even[K], 0);
  add_products<false>(a.odd, x + 1, y);
  a.odd[K] = addc(a.odd[K], 0);
}

// A further row and a word: a += x·y + word.
DEVICE void add_row(Accumulator &a, const u32 *x, u32 y, u32 word) {
  add_products<false>(a.even, x, y);
  a.even[K] = addc(a.even[K], 0);
  a.even[0] = add_cc(a.even[0], word);
  add_products<true>(a.odd, x + 1, y);
  a.odd[K] = addc(a.odd[K], 0);
}

// The lowest word of the digit (with `word` added to it) times `inverse` = −n⁻¹ mod 2^32: n times that makes it 0.
DEVICE u32 quotient_word(const Accumulator &a, u32 inverse, u32 word = 0) {
  return from_lane<T>((a.even[0] + word) * inverse, 0);
}

// a /= 2^32, the lowest word of the digit dropped: 0, or read before.
DEVICE void divide(Accumulator &a) {
  const u32 above = from_above<T>(a.even[0]);
  const u32 incoming = highest_lane() ? 0 : above;
  u32 odd[K + 1];
#pragma unroll
  for (int j = 0; j < K - 2; j++) odd[j] = a.even[j + 2];
  odd[K - 2] = add_cc(a.even[K], incoming);
  odd[K - 1] = addc(0, 0);
  odd[K] = 0;
  a.late = a.even[1];
#pragma unroll
  for (int j = 0; j <= K; j++) {
    a.even[j] = a.odd[j];
    a.odd[j] = odd[j];
  }
}

// x[K] + carry·2^(32K) = value of the lane; returns carry.
DEVICE u32 fold(u32 *x, const Accumulator &a) {
  x[0] = add_cc(a.even[0], a.late);
#pragma unroll
  for (int j = 1; j < K; j++) x[j] = addc_cc(a.even[j], a.odd[j - 1]);
  return addc(a.even[K], a.odd[K - 1]);
}
