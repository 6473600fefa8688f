// Numbers of any length ↔ rows, and what is asked of numbers on their way.  See abi.py for the meaning of each.
#include "two_digit.cuh"

// --- in: a number in chunks of L words, each with its power of R ------------------------------------------

// The lane's limbs of words first … first + L − 1 of a number of `words` words, 0 beyond its end.
DEVICE void load_words(u32 *x, const u32 *number, int first, int words) {
  first += place_in_digit() * K;
#pragma unroll
  for (int j = 0; j < K; j++) x[j] = first + j < words ? read(number + first + j) : 0;
}

template <int D>
DEVICE void import_batch(u32 *out, const u32 *numbers, int words, const u32 *factors, const u32 *constants,
                         u32 inverse, int count) {
  SHARED_MULTIPLIERS(multiplier, D, 1);
  const Element element = element_of(group_in_grid(), count);
  const Modulus<D> m = load_modulus<D>(constants, inverse);
  Row<D> sum = {};
#pragma unroll 1
  for (int c = 0; c * L < words; c++) {
    Row<D> x = {};
    load_words(x.digit[0], numbers + element.index * words, c * L, words);
    load_multiplier<D>(multiplier, row_at<D>(factors, c));
    multiply(x, x, multiplier, m);
    add(sum, sum, x, m);
  }
  if (element.mine) store_row(row_at<D>(out, element.index), sum);
}

// --- out: x/R, and the digits put together ----------------------------------------------------------------

// The canonical digits of x, out of Montgomery form: the product with 1.
template <int D> DEVICE void leave_form(Row<D> &x, u32 *multiplier, const Modulus<D> &m) {
  Row<D> unit = {};
  unit.digit[0][0] = lowest_lane();
  put_multiplier(multiplier, unit);
  multiply(x, x, multiplier, m);
}

// number = x0 + x1·r, a digit of low words and one of high words.  Each step adds a row x1[i]·r and puts out a word:
//
//      t = x0;  for each limb y of x1:  t += y·r;  low[i] = t mod 2^32;  t = t/2^32        high = t at the end
//
// t < r + R at any time, and x0 + x1·r ≤ r² − 1 < R².
DEVICE void join_digits(Row<2> &x, u32 *multiplier, const Modulus<2> &m) {
  Accumulator t;
  clear(t);
#pragma unroll
  for (int j = 0; j < K; j++) t.even[j] = x.digit[0][j];
  put_multiplier(multiplier, x);
  u32 low[K];
#pragma unroll
  for (int j = 0; j < K; j++) low[j] = 0;
#pragma unroll 1
  for (int lane = 0; lane < T; lane++) {
    const bool mine = place_in_digit() == lane;
#pragma unroll
    for (int j = 0; j < K; j++) {
      add_first_row(t, m.root, read(multiplier + L + lane * K + j));
      const u32 word = from_lane<T>(t.even[0], 0);
      low[j] = mine ? word : low[j];
      divide(t);
    }
  }
  const u32 carry = fold(x.digit[1], t);
  settle(x.digit[1], carry, 0);
#pragma unroll
  for (int j = 0; j < K; j++) x.digit[0][j] = low[j];
}
DEVICE void join_digits(Row<1> &, u32 *, const Modulus<1> &) {}

template <int D>
DEVICE void export_batch(u32 *out, const u32 *x_rows, int words, const u32 *constants, u32 inverse, int count) {
  SHARED_MULTIPLIERS(multiplier, D, 1);
  const Element element = element_of(group_in_grid(), count);
  const Modulus<D> m = load_modulus<D>(constants, inverse);
  Row<D> x;
  load_row(x, row_at<D>(x_rows, element.index));
  leave_form(x, multiplier, m);
  join_digits(x, multiplier, m);
  if (!element.mine) return;
  u32 *number = out + element.index * words;
#pragma unroll
  for (int d = 0; d < D; d++) {
    const int first = d * L + place_in_digit() * K;
#pragma unroll
    for (int j = 0; j < K; j++)
      if (first + j < words) write(number + first + j, x.digit[d][j]);
  }
  for (int i = D * L + place_in_digit(); i < words; i += T) write(number + i, 0u);
}

KERNEL import_1(u32 *out, const u32 *numbers, int words, const u32 *factors, const u32 *constants, u32 inverse,
                int count) {
  import_batch<1>(out, numbers, words, factors, constants, inverse, count);
}
KERNEL import_2(u32 *out, const u32 *numbers, int words, const u32 *factors, const u32 *constants, u32 inverse,
                int count) {
  import_batch<2>(out, numbers, words, factors, constants, inverse, count);
}
KERNEL export_1(u32 *out, const u32 *x, int words, const u32 *constants, u32 inverse, int count) {
  export_batch<1>(out, x, words, constants, inverse, count);
}
KERNEL export_2(u32 *out, const u32 *x, int words, const u32 *constants, u32 inverse, int count) {
  export_batch<2>(out, x, words, constants, inverse, count);
}

// --- the second digit, modulo r ---------------------------------------------------------------------------

// x = x0 + x1·r: x1 as a number modulo r.  `factor` is R² mod r, which brings it into Montgomery form.
KERNEL high_digit(u32 *out, const u32 *x_rows, const u32 *factor, const u32 *constants, u32 inverse, int count) {
  SHARED_MULTIPLIERS(multiplier, 2, 1);
  const Element element = element_of(group_in_grid(), count);
  const Modulus<2> m = load_modulus<2>(constants, inverse);
  Row<2> x;
  load_row(x, row_at<2>(x_rows, element.index));
  leave_form(x, multiplier, m);
  load_multiplier<1>(multiplier, factor);
  multiply_digit(x.digit[1], x.digit[1], multiplier, m.root, m.inverse);
  if (element.mine) store_digit(row_at<1>(out, element.index), x.digit[1]);
}

// --- comparisons of plain numbers, a thread each ----------------------------------------------------------

DEVICE bool not_below(const u32 *number, const u32 *bound, int words) {
  for (int i = words - 1; i >= 0; i--) {
    const u32 a = read(number + i), b = read(bound + i);
    if (a != b) return a > b;
  }
  return true;
}

// *first = min(*first, i) for every i with numbers[i] ≥ bound.
KERNEL first_not_below(int *first, const u32 *numbers, int words, const u32 *bound, int count) {
  const i64 i = thread_in_grid();
  if (i < count && not_below(numbers + i * words, bound, words)) write_minimum(first, static_cast<int>(i));
}

// numbers[i] −= modulus where numbers[i] ≥ half.
KERNEL centre(u32 *numbers, int words, const u32 *modulus, const u32 *half, int count) {
  const i64 i = thread_in_grid();
  if (i >= count) return;
  u32 *number = numbers + i * words;
  if (!not_below(number, half, words)) return;
  u64 borrow = 0;
  for (int j = 0; j < words; j++) {
    const u64 difference = static_cast<u64>(read(number + j)) - read(modulus + j) - borrow;
    write(number + j, static_cast<u32>(difference));
    borrow = difference >> 63;
  }
}
