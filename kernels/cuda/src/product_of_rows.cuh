// The product of rows that lie anywhere in memory: the inner loop of combs and of segment products.
//
// A group has two multipliers in shared memory.  While the product with one of them runs, the next row is copied
// into the other, and the address of the one after it is on its way:
//
//      multiply   |  row 1      |  row 2      |  row 3
//      copy       |  row 2      |  row 3      |  …
//      address    |  row 3      |  row 4      |  …
#pragma once
#include "two_digit.cuh"

// The group's lanes copy a row into a multiplier, 16 bytes a lane at a time, neighbours next to each other.
template <int D> DEVICE void copy_row(u32 *multiplier, const u32 *row) {
#pragma unroll
  for (int j = 0; j < D * L; j += 4 * T) {
    const int word = j + 4 * place_in_digit();
    copy16(multiplier + word, row + word);
  }
  copies_until_here();
}

// x = ∏ row(k) over 0 ≤ k < length, 1 if length = 0; row(k) is the address of a row.  Groups of a warp may differ in
// length: the shorter ones go on multiplying by 1.
template <int D, class RowOf>
DEVICE void product_of_rows(Row<D> &x, RowOf row, int length, u32 *multipliers, const Modulus<D> &m) {
  const auto row_or_one = [&](int k) { return k < length ? row(k) : one(m); };
  u32 *current = multipliers, *other = multipliers + Multiplier<D>::STRIDE;
  load_row(x, row_or_one(0));
  copy_row<D>(current, row_or_one(1));
  const u32 *next = row_or_one(2);
#pragma unroll 1
  for (int k = 1; lanes_where(k < length); k++) {
    sync_warp();  // nobody reads `other` any more
    copy_row<D>(other, next);
    next = row_or_one(k + 2);
    wait_for_copies<1>();
    sync_warp();  // the copies of all lanes have arrived in `current`
    multiply(x, x, current, m);
    u32 *const free = current;
    current = other;
    other = free;
  }
  wait_for_copies<0>();  // no copy may outlive the block's shared memory
}
