// Products, sums and powers of two of whole batches.  See abi.py for what each kernel means.
#include "two_digit.cuh"

template <int D>
DEVICE void multiply_batch(u32 *out, const u32 *a, const int *a_rows, int a_step, const u32 *b, const int *b_rows,
                           int b_step, const u32 *constants, u32 inverse, int count) {
  SHARED_MULTIPLIERS(multiplier, D, 1);
  const Element element = element_of(group_in_grid(), count);
  const Modulus<D> m = load_modulus<D>(constants, inverse);
  Row<D> x;
  load_row(x, operand<D>(a, a_rows, a_step, element.index));
  load_multiplier<D>(multiplier, operand<D>(b, b_rows, b_step, element.index));
  multiply(x, x, multiplier, m);
  if (element.mine) store_row(row_at<D>(out, element.index), x);
}

template <int D>
DEVICE void square_batch(u32 *out, const u32 *a, const int *a_rows, int a_step, int squarings, const u32 *constants,
                         u32 inverse, int count) {
  SHARED_MULTIPLIERS(multiplier, D, 1);
  const Element element = element_of(group_in_grid(), count);
  const Modulus<D> m = load_modulus<D>(constants, inverse);
  Row<D> x;
  load_row(x, operand<D>(a, a_rows, a_step, element.index));
#pragma unroll 1
  for (int i = 0; i < squarings; i++) square(x, x, multiplier, m);
  if (element.mine) store_row(row_at<D>(out, element.index), x);
}

// All groups compute the same; the first of the grid stores.
template <int D> DEVICE void squares_of(u32 *out, const u32 *a, const u32 *constants, u32 inverse, int count) {
  SHARED_MULTIPLIERS(multiplier, D, 1);
  const Modulus<D> m = load_modulus<D>(constants, inverse);
  Row<D> x;
  load_row(x, a);
#pragma unroll 1
  for (int i = 0; i < count; i++) {
    if (i > 0) square(x, x, multiplier, m);
    if (group_in_grid() == 0) store_row(row_at<D>(out, i), x);
  }
}

template <int D, bool MINUS>
DEVICE void add_batch(u32 *out, const u32 *a, const int *a_rows, int a_step, const u32 *b, const int *b_rows,
                      int b_step, const u32 *constants, u32 inverse, int count) {
  const Element element = element_of(group_in_grid(), count);
  const Modulus<D> m = load_modulus<D>(constants, inverse);
  Row<D> x, y;
  load_row(x, operand<D>(a, a_rows, a_step, element.index));
  load_row(y, operand<D>(b, b_rows, b_step, element.index));
  MINUS ? subtract(x, x, y, m) : add(x, x, y, m);
  if (element.mine) store_row(row_at<D>(out, element.index), x);
}

#define OPERAND(x) const u32 *x, const int *x##_rows, int x##_step
#define BINARY(name, batch)                                                                                       \
  KERNEL name(u32 *out, OPERAND(a), OPERAND(b), const u32 *constants, u32 inverse, int count) {                   \
    batch(out, a, a_rows, a_step, b, b_rows, b_step, constants, inverse, count);                                  \
  }
BINARY(multiply_1, multiply_batch<1>)
BINARY(multiply_2, multiply_batch<2>)
BINARY(add_1, (add_batch<1, false>))
BINARY(add_2, (add_batch<2, false>))
BINARY(subtract_1, (add_batch<1, true>))
BINARY(subtract_2, (add_batch<2, true>))

KERNEL shift_1(u32 *out, OPERAND(a), int squarings, const u32 *constants, u32 inverse, int count) {
  square_batch<1>(out, a, a_rows, a_step, squarings, constants, inverse, count);
}
KERNEL shift_2(u32 *out, OPERAND(a), int squarings, const u32 *constants, u32 inverse, int count) {
  square_batch<2>(out, a, a_rows, a_step, squarings, constants, inverse, count);
}
KERNEL squares_1(u32 *out, const u32 *a, const u32 *constants, u32 inverse, int count) {
  squares_of<1>(out, a, constants, inverse, count);
}
KERNEL squares_2(u32 *out, const u32 *a, const u32 *constants, u32 inverse, int count) {
  squares_of<2>(out, a, constants, inverse, count);
}

// (a0 + a1·r)·(1 + b·r) = a0 + (a1 + a0·b)·r  mod r²: one product modulo r.  In Montgomery form a0·b/R is a0·b.
KERNEL add_message(u32 *out, OPERAND(a), OPERAND(b), const u32 *constants, u32 inverse, int count) {
  SHARED_MULTIPLIERS(multiplier, 1, 1);
  const Element element = element_of(group_in_grid(), count);
  const Modulus<2> m = load_modulus<2>(constants, inverse);
  Row<2> x;
  load_row(x, operand<2>(a, a_rows, a_step, element.index));
  load_multiplier<1>(multiplier, operand<1>(b, b_rows, b_step, element.index));
  u32 product[K];
  multiply_digit(product, x.digit[0], multiplier, m.root, m.inverse);
  add_modulo(x.digit[1], x.digit[1], product, 0, m.root);
  if (element.mine) store_row(row_at<2>(out, element.index), x);
}
