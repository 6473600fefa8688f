// Rows in memory, in the registers of T lanes, and in shared memory.
//
// A row is D digits of L limbs, one after the other, lowest limb first.  Lane i of a digit holds limbs
// i·K … (i+1)·K − 1 of each:
//
//      memory      | digit 0: limbs 0 … L−1       | digit 1: limbs 0 … L−1       |
//      lane 0        0 … K−1                        0 … K−1
//      lane T−1               L−K … L−1                      L−K … L−1
#pragma once
#include "lanes.cuh"

template <int D> struct Row {
  u32 digit[D][K];
};

// What a kernel gets of a modulus: see abi.py for the layout of `constants`.
template <int D> struct Modulus {
  const u32 *constants;
  u32 inverse;
  u32 root[K];
};
template <int D> DEVICE const u32 *complement_start(const Modulus<D> &m) { return m.constants + L; }  // ((−R) mod r) + 1
template <int D> DEVICE const u32 *one(const Modulus<D> &m) { return m.constants + 2 * L; }           // 1·R mod m

DEVICE void load_digit(u32 *x, const u32 *p) {
  p += place_in_digit() * K;
#pragma unroll
  for (int j = 0; j < K; j += 4) {
    const uint4 v = read16(p + j);
    x[j] = v.x, x[j + 1] = v.y, x[j + 2] = v.z, x[j + 3] = v.w;
  }
}
DEVICE void store_digit(u32 *p, const u32 *x) {
  p += place_in_digit() * K;
#pragma unroll
  for (int j = 0; j < K; j += 4) {
    uint4 v;
    v.x = x[j], v.y = x[j + 1], v.z = x[j + 2], v.w = x[j + 3];
    write16(p + j, v);
  }
}
template <int D> DEVICE void load_row(Row<D> &x, const u32 *p) {
#pragma unroll
  for (int d = 0; d < D; d++) load_digit(x.digit[d], p + d * L);
}
template <int D> DEVICE void store_row(u32 *p, const Row<D> &x) {
#pragma unroll
  for (int d = 0; d < D; d++) store_digit(p + d * L, x.digit[d]);
}
template <int D> DEVICE Modulus<D> load_modulus(const u32 *constants, u32 inverse) {
  Modulus<D> m;
  m.constants = constants;
  m.inverse = inverse;
  load_digit(m.root, constants);
  return m;
}

// Row `index` of rows of D digits; offsets of 64 bits, as a batch may be larger than 4 GiB.
template <int D> DEVICE const u32 *row_at(const u32 *rows, i64 index) { return rows + index * (D * L); }
template <int D> DEVICE u32 *row_at(u32 *rows, i64 index) { return rows + index * (D * L); }

// The operand of element i: row places[i], or i·step where there are no places (step 0: the first row for all).
template <int D> DEVICE const u32 *operand(const u32 *rows, const int *places, int step, i64 i) {
  return row_at<D>(rows, places ? read(places + i) : i * step);
}

// A multiplier in shared memory, one row a group: all T lanes read the same limb at the same time.  Four words
// between the rows put the groups of a warp into different banks.
template <int D> struct Multiplier {
  static constexpr int STRIDE = D * L + 4;
};
#define SHARED_MULTIPLIERS(name, D, per_group) \
  SHARED_WORDS(name##_words, GROUPS * (per_group) * Multiplier<D>::STRIDE); \
  u32 *const name = name##_words + group_in_block() * (per_group) * Multiplier<D>::STRIDE

// A row from registers into a multiplier.  The lanes of a group may still be reading the one that was there.
template <int D> DEVICE void put_multiplier(u32 *multiplier, const Row<D> &x) {
  sync_warp();
  store_row(multiplier, x);
  sync_warp();
}
template <int D> DEVICE void load_multiplier(u32 *multiplier, const u32 *row) {
  Row<D> x;
  load_row(x, row);
  put_multiplier(multiplier, x);
}

// out = a ± b mod m.  The carry or borrow of the low digit goes into the high one: x0 − r + (x1 + 1)·r is x0 + x1·r.
template <int D> DEVICE void add(Row<D> &out, const Row<D> &a, const Row<D> &b, const Modulus<D> &m) {
  u32 carry = 0;
#pragma unroll
  for (int d = 0; d < D; d++) carry = add_modulo(out.digit[d], a.digit[d], b.digit[d], carry, m.root);
}
template <int D> DEVICE void subtract(Row<D> &out, const Row<D> &a, const Row<D> &b, const Modulus<D> &m) {
  u32 borrow = 0;
#pragma unroll
  for (int d = 0; d < D; d++) borrow = subtract_modulo(out.digit[d], a.digit[d], b.digit[d], borrow, m.root);
}
