// Montgomery product modulo r² in two digits of half the size: a·b/R mod r², a = a0 + a1·r and so on, all digits
// below r < R = 2^(32L).  5·L² word products; a squaring 4·L².
//
//      t  = a0·b0;  m = t·(−r⁻¹) mod R;  c0 = (t + m·r)/R
//      c1 = (a0·b1 + a1·b0 + k − m + p·r)/R,   k a multiple of r with k ≥ R, p such that R divides it
//
// because a·b = a0·b0 + (a0·b1 + a1·b0)·r = c0·R + (a0·b1 + a1·b0 − m)·r  mod r².
//
// Both digits advance together, so that m is never stored: k − m = (((−R) mod r) + 1) + (R − 1 − m) for
// k = R + ((−R) mod r), and R − 1 − m is the complement of m, whose word i is known in step i, when it stands at
// the lowest word of the second accumulator.  `complement_start` is the first bracket, at most r.
//
// Bounds.  a0 < R and b0 < r: c0 < (R·r + R·r)/R = 2r, as for one digit.  All digits below r, or a0 < R and a1 = 0:
//      a0·b1 + a1·b0 ≤ max(2·(r − 1)², (R − 1)·(r − 1)),  k − m ≤ R + r − 1,  p·r ≤ (R − 1)·r
//      R·c1 ≤ 2·(r − 1)² + R + r − 1 + R·r − r < R·(3r − 1),  as (r − 1)² ≤ (R − 1)·(r − 1)
// so c1 + 1 < 3r, where 1 is the carry if r is taken off c0: r comes off at most twice.
#pragma once
#include "one_digit.cuh"

// The digits from their accumulators: first < 2r; second + extra + 1 < 3r.
DEVICE void finish_digits(Row<2> &out, const Accumulator &first, const Accumulator &second, const u32 *extra,
                          const u32 *n) {
  u32 x[K];
  u32 over = fold(x, first);
  over = settle(x, over, 0);
  const bool carry = subtract_if_not_below(x, over, n);
  check(over == 0);
  u32 y[K];
  over = fold(y, second);
  if (extra) {
    y[0] = add_cc(y[0], extra[0]);
#pragma unroll
    for (int j = 1; j < K; j++) y[j] = addc_cc(y[j], extra[j]);
    over = addc(over, 0);
  }
  over = settle(y, over, carry);
  subtract_if_not_below(y, over, n);
  subtract_if_not_below(y, over, n);
  check(over == 0);
#pragma unroll
  for (int j = 0; j < K; j++) {
    out.digit[0][j] = x[j];
    out.digit[1][j] = y[j];
  }
}

// The steps of a product: `first` and `second` end as c0 and c1, b in `multiplier`.  SQUARING leaves the rows a1·b0
// out.  The rows of the second digit fill the time until q has come from the lowest lane.
template <bool SQUARING>
DEVICE void multiply_digits(Accumulator &first, Accumulator &second, const Row<2> &a, const u32 *multiplier,
                            const Modulus<2> &m) {
  const u32 *a0 = a.digit[0], *a1 = a.digit[1], *n = m.root;
  const u32 lowest_word = lowest_lane() ? ALL_ONES : 0;
  clear(first);
  clear(second);
  load_digit(second.even, complement_start(m));
#pragma unroll UNROLLED
  for (int h = 0; h < L; h += 4) {
    const uint4 low = read16(multiplier + h), high = read16(multiplier + L + h);
    const u32 y0[4] = {low.x, low.y, low.z, low.w};
    const u32 y1[4] = {high.x, high.y, high.z, high.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
      add_first_row(first, a0, y0[i]);
      const u32 q = quotient_word(first, m.inverse);
      add_first_row(second, a0, y1[i]);
      if (!SQUARING) add_row(second, a1, y0[i]);
      add_row(first, n, q);
      const u32 complement = ~q & lowest_word;
      const u32 p = quotient_word(second, m.inverse, complement);
      divide(first);
      add_row(second, n, p, complement);
      divide(second);
    }
  }
}

// out = a·b/R mod r², canonical; `multiplier` holds b.  a: digits below r, or a0 < R and a1 = 0.  out may be a.
DEVICE void multiply(Row<2> &out, const Row<2> &a, const u32 *multiplier, const Modulus<2> &m) {
  Accumulator first, second;
  multiply_digits<false>(first, second, a, multiplier, m);
  finish_digits(out, first, second, nullptr, m.root);
}

// x = 2·a mod R, digits; returns all ones in every lane if 2·a ≥ R, else 0.
DEVICE u32 double_digit(u32 *x, const u32 *a) {
  const u32 below = from_below<T>(a[K - 1]);
  const u32 top = from_lane<T>(a[K - 1], T - 1);
#pragma unroll
  for (int j = K - 1; j > 0; j--) x[j] = a[j] << 1 | a[j - 1] >> 31;
  x[0] = a[0] << 1 | (lowest_lane() ? 0 : below >> 31);
  return 0 - (top >> 31);
}

// out = a²/R mod r², canonical; digits below r.  The multiplier is (a0, 2·a1 mod R), so that the second digit takes
// one row less; where 2·a1 ≥ R, the lost R·a0/R = a0 is added at the end.  The bounds are those of the product.
DEVICE void square(Row<2> &out, const Row<2> &a, u32 *multiplier, const Modulus<2> &m) {
  Row<2> twice;
  const u32 lost = double_digit(twice.digit[1], a.digit[1]);
  u32 extra[K];
#pragma unroll
  for (int j = 0; j < K; j++) twice.digit[0][j] = a.digit[0][j];
  put_multiplier(multiplier, twice);
  Accumulator first, second;
  multiply_digits<true>(first, second, a, multiplier, m);
#pragma unroll
  for (int j = 0; j < K; j++) extra[j] = a.digit[0][j] & lost;
  finish_digits(out, first, second, extra, m.root);
}
