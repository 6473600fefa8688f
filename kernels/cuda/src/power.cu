// Powers of whole batches, window by window.  See abi.py.
//
// The exponents decide which rows of the table are read, and nothing else: the number of products depends on the
// number of bits only.  Who can watch the device's memory traffic learns about exponents from it.
#include "exponents.cuh"
#include "two_digit.cuh"

// table[d] = a^d for d < 2^window.  A lane reads back only what it wrote itself.
template <int D>
DEVICE void powers_table(u32 *table, const Row<D> &a, int window, u32 *multiplier, const Modulus<D> &m) {
  Row<D> x;
  load_row(x, one(m));
  store_row(table, x);
  x = a;
  put_multiplier(multiplier, a);
#pragma unroll 1
  for (int d = 1; d < 1 << window; d++) {
    if (d > 1) multiply(x, x, multiplier, m);
    store_row(row_at<D>(table, d), x);
  }
}

// a^e = (…(a^e[t−1])^(2^w)·a^e[t−2] …)^(2^w)·a^e[0], e[i] the digits of w = `window` bits.
template <int D>
DEVICE void power_batch(u32 *out, const u32 *a, const int *a_rows, int a_step, const u32 *exponents,
                        int exponent_step, int words, int bits, int window, u32 *tables, const u32 *constants,
                        u32 inverse, int count) {
  SHARED_MULTIPLIERS(multiplier, D, 1);
  const Modulus<D> m = load_modulus<D>(constants, inverse);
  const i64 groups = static_cast<i64>(block_count()) * GROUPS;
  u32 *const table = row_at<D>(tables, group_in_grid() << window);
  const int windows = (bits + window - 1) / window;
  // All groups of the grid take the same number of turns: warps stay together.
#pragma unroll 1
  for (i64 turn = 0; turn < count; turn += groups) {
    const Element element = element_of(turn + group_in_grid(), count);
    const u32 *const exponent = exponents + element.index * exponent_step * words;
    Row<D> x;
    load_row(x, operand<D>(a, a_rows, a_step, element.index));
    powers_table(table, x, window, multiplier, m);
    const int top = (windows - 1) * window;
    load_row(x, row_at<D>(table, windows > 0 ? exponent_digit(exponent, words, top, window) : 0));
#pragma unroll 1
    for (int place = top - window; place >= 0; place -= window) {
#pragma unroll 1
      for (int i = 0; i < window; i++) square(x, x, multiplier, m);
      load_multiplier<D>(multiplier, row_at<D>(table, exponent_digit(exponent, words, place, window)));
      multiply(x, x, multiplier, m);
    }
    if (element.mine) store_row(row_at<D>(out, element.index), x);
  }
}

#define POWER(name, D)                                                                                            \
  KERNEL name(u32 *out, const u32 *a, const int *a_rows, int a_step, const u32 *exponents, int exponent_step,     \
              int words, int bits, int window, u32 *table, const u32 *constants, u32 inverse, int count) {        \
    power_batch<D>(out, a, a_rows, a_step, exponents, exponent_step, words, bits, window, table, constants,       \
                   inverse, count);                                                                               \
  }
POWER(power_1, 1)
POWER(power_2, 2)
