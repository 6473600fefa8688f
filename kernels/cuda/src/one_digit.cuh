// Montgomery product modulo any odd n < R = 2^(32L), numbers of one digit: a·b/R mod n.  2·L² word products.
//
//      t = 0
//      for each limb y of b:  t += a·y;  q = t·(−n⁻¹) mod 2^32;  t = (t + n·q)/2^32
//
// Bound: after step i, t < (a·(b mod 2^(32(i+1))) + n·2^(32(i+1)))/2^(32(i+1)) ≤ a + n, and at the end
// t < (R·n + n·R)/R = 2n for a < R, b < n: n comes off at most once.
#pragma once
#include "accumulator.cuh"
#include "rows.cuh"

// out = a·b/R mod r, canonical, for a < R and b < r, or a < r and b < R; `multiplier` holds b.  out may be a.
DEVICE void multiply_digit(u32 *out, const u32 *a, const u32 *multiplier, const u32 *n, u32 inverse) {
  Accumulator t;
  clear(t);
#pragma unroll UNROLLED
  for (int h = 0; h < L; h += 4) {
    const uint4 limbs = read16(multiplier + h);
    const u32 y[4] = {limbs.x, limbs.y, limbs.z, limbs.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
      add_first_row(t, a, y[i]);
      add_row(t, n, quotient_word(t, inverse));
      divide(t);
    }
  }
  u32 x[K];
  u32 over = fold(x, t);
  over = settle(x, over, 0);
  subtract_if_not_below(x, over, n);
  check(over == 0);
#pragma unroll
  for (int j = 0; j < K; j++) out[j] = x[j];
}

DEVICE void multiply(Row<1> &out, const Row<1> &a, const u32 *multiplier, const Modulus<1> &m) {
  multiply_digit(out.digit[0], a.digit[0], multiplier, m.root, m.inverse);
}

// out = a²/R mod r.
DEVICE void square(Row<1> &out, const Row<1> &a, u32 *multiplier, const Modulus<1> &m) {
  put_multiplier(multiplier, a);
  multiply(out, a, multiplier, m);
}
