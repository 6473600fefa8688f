// Powers of one base from a table: ∏ over windows t of base^(digit t · 2^(window·t)).  See abi.py for the table.
//
// The exponents decide which rows are read; the number of products depends on the number of windows only.
#include "exponents.cuh"
#include "product_of_rows.cuh"

template <int D>
DEVICE void comb_batch(u32 *out, const u32 *table, int stride, const u32 *exponents, int words, int window,
                       int windows, const u32 *constants, u32 inverse, int count) {
  SHARED_MULTIPLIERS(multipliers, D, 2);
  const Element element = element_of(group_in_grid(), count);
  const Modulus<D> m = load_modulus<D>(constants, inverse);
  const u32 *const exponent = exponents + element.index * words;
  const auto row = [=](int t) {
    const i64 digit = exponent_digit(exponent, words, t * window, window);
    return row_at<D>(table, digit * stride + t);
  };
  Row<D> x;
  product_of_rows(x, row, windows, multipliers, m);
  if (element.mine) store_row(row_at<D>(out, element.index), x);
}

#define COMB(name, D)                                                                                             \
  KERNEL name(u32 *out, const u32 *table, int stride, const u32 *exponents, int words, int window, int windows,   \
              const u32 *constants, u32 inverse, int count) {                                                     \
    comb_batch<D>(out, table, stride, exponents, words, window, windows, constants, inverse, count);              \
  }
COMB(comb_1, 1)
COMB(comb_2, 2)
