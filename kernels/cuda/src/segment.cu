// Products over segments of gathered rows: histograms and sums under encryption.  See abi.py.
//
// A warp runs as long as the longest of its segments: segments of like length should stand side by side.
#include "product_of_rows.cuh"

template <int D>
DEVICE void segment_batch(u32 *out, const u32 *x_rows, const int *indices, const int *firsts, const int *lasts,
                          const u32 *constants, u32 inverse, int count) {
  SHARED_MULTIPLIERS(multipliers, D, 2);
  const Element element = element_of(group_in_grid(), count);
  const Modulus<D> m = load_modulus<D>(constants, inverse);
  const int first = read(firsts + element.index), last = read(lasts + element.index);
  const auto row = [=](int k) { return row_at<D>(x_rows, read(indices + first + k)); };
  Row<D> x;
  product_of_rows(x, row, last - first, multipliers, m);
  if (element.mine) store_row(row_at<D>(out, element.index), x);
}

#define SEGMENT(name, D)                                                                                          \
  KERNEL name(u32 *out, const u32 *x, const int *indices, const int *firsts, const int *lasts,                    \
              const u32 *constants, u32 inverse, int count) {                                                     \
    segment_batch<D>(out, x, indices, firsts, lasts, constants, inverse, count);                                  \
  }
SEGMENT(segment_product_1, 1)
SEGMENT(segment_product_2, 2)
