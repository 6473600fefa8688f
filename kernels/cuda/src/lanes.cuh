// How numbers lie over the lanes of a warp, and carries between lanes.
//
// A digit has L = T·K limbs of 32 bits.  T neighbouring lanes hold it, K limbs each, the lowest lane the lowest:
//
//      T = 4, K = 8        lane 3          lane 2          lane 1          lane 0
//      limbs             31 … 24         23 … 16         15 …  8          7 …  0
//
// So a warp works on 32/T elements at once, and a block of THREADS threads on THREADS/T.
#pragma once

constexpr int T = HECORE_T, K = HECORE_K, L = T * K;
constexpr int THREADS = 128;
#include "primitives.cuh"

static_assert(32 % T == 0 && T > 1, "a digit lies within a warp, over two lanes or more");
static_assert(K % 4 == 0, "a lane's limbs are read 16 bytes at a time");

constexpr u32 ALL_ONES = 0xffffffffu;
constexpr int GROUPS = THREADS / T;

DEVICE int place_in_digit() { return static_cast<int>(thread_index() % T); }
DEVICE bool lowest_lane() { return place_in_digit() == 0; }
DEVICE bool highest_lane() { return place_in_digit() == T - 1; }
DEVICE int group_in_block() { return static_cast<int>(thread_index() / T); }
DEVICE i64 thread_in_grid() { return static_cast<i64>(block_index()) * THREADS + thread_index(); }
DEVICE i64 group_in_grid() { return static_cast<i64>(block_index()) * GROUPS + group_in_block(); }

// The element that a group works on.  A group beyond the last works on the last once more and stores nothing:
// its lanes are needed in the collectives of its warp.
struct Element {
  i64 index;
  bool mine;
};
DEVICE Element element_of(i64 group, int count) { return {group < count ? group : count - 1, group < count}; }

// Carries between lanes, all at once.  `made`: the lane carries out whatever comes in; `passed`: it carries out
// exactly if a carry comes in (never both).  Carries of a digit are c[i+1] = made[i] | (passed[i] & c[i]), which
// is what the addition (made|passed) + made does in the bits of a word, one bit a lane:
//
//      sum bit i = passed[i] ^ c[i],   c[T] is bit T of the sum
struct Carry {
  u32 in;   // into this lane
  u32 out;  // out of the digit
};
DEVICE Carry carry_between_lanes(bool made, bool passed) {
  constexpr u32 DIGIT = T == 32 ? ALL_ONES : (1u << (T % 32)) - 1;
  const int first = (thread_index() % 32) / T * T;
  const u32 makes = lanes_where(made) >> first & DIGIT;
  const u32 passes = lanes_where(passed) >> first & DIGIT;
  const u64 sum = static_cast<u64>(makes | passes) + makes;
  const u32 carries = static_cast<u32>(sum) ^ passes;
  return {carries >> place_in_digit() & 1, static_cast<u32>(sum >> T) & 1};
}

// x[K] += word, the carry out of the lane dropped: for carries that are known to end here.
DEVICE void add_word(u32 *x, u32 word) {
  x[0] = add_cc(x[0], word);
#pragma unroll
  for (int j = 1; j < K - 1; j++) x[j] = addc_cc(x[j], 0);
  x[K - 1] = addc(x[K - 1], 0);
}

// Lanes hold x[K] + carry·2^(32K), carry small; `in` is added to the lowest lane.  Sends the carries on their way:
// afterwards x is the digit, and what is returned has the weight R = 2^(32L).
DEVICE u32 settle(u32 *x, u32 carry, u32 in) {
  const u32 below = from_below<T>(carry);
  const u32 over = from_lane<T>(carry, T - 1);
  x[0] = add_cc(x[0], lowest_lane() ? in : below);
#pragma unroll
  for (int j = 1; j < K; j++) x[j] = addc_cc(x[j], 0);
  const bool made = addc(0, 0);
  u32 ones = x[0];
#pragma unroll
  for (int j = 1; j < K; j++) ones &= x[j];
  const Carry carries = carry_between_lanes(made, ones == ALL_ONES);
  add_word(x, carries.in);
  return over + carries.out;
}

// x = a − b − in, digits of K limbs a lane; returns the borrow, of weight R.  `in` is 0 or 1.
DEVICE u32 subtract_digit(u32 *x, const u32 *a, const u32 *b, u32 in) {
  u32 first = lowest_lane() ? in : 0, any = 0;
  // The borrow that comes in is a subtraction of its own: b + in may not fit in a word.
  u32 d[K];
  d[0] = sub_cc(a[0], b[0]);
#pragma unroll
  for (int j = 1; j < K; j++) d[j] = subc_cc(a[j], b[j]);
  bool made = subc(0, 0) & 1;
#pragma unroll
  for (int j = 0; j < K; j++) any |= d[j];
  // A lane of zeros passes a borrow on.  In the lowest lane it is known whether one comes in.
  const bool zeros = any == 0;
  made = made | (zeros & first);
  const Carry borrow = carry_between_lanes(made, zeros & !made);
  const u32 take = lowest_lane() ? first : borrow.in;
  x[0] = sub_cc(d[0], take);
#pragma unroll
  for (int j = 1; j < K - 1; j++) x[j] = subc_cc(d[j], 0);
  x[K - 1] = subc(d[K - 1], 0);
  return borrow.out;
}

// Where over·R + x ≥ n: subtracts n from it.  Returns whether it did.
DEVICE bool subtract_if_not_below(u32 *x, u32 &over, const u32 *n) {
  u32 d[K];
  const u32 borrow = subtract_digit(d, x, n, 0);
  const bool take = over >= borrow;
#pragma unroll
  for (int j = 0; j < K; j++) x[j] = take ? d[j] : x[j];
  over = take ? over - borrow : over;
  return take;
}

// x = a + b + in mod n for a, b < n: returns whether n was taken off.
DEVICE bool add_modulo(u32 *x, const u32 *a, const u32 *b, u32 in, const u32 *n) {
  u32 s[K];
  s[0] = add_cc(a[0], b[0]);
#pragma unroll
  for (int j = 1; j < K; j++) s[j] = addc_cc(a[j], b[j]);
  u32 over = settle(s, addc(0, 0), in);
  const bool taken = subtract_if_not_below(s, over, n);
#pragma unroll
  for (int j = 0; j < K; j++) x[j] = s[j];
  return taken;
}

// x = a − b − in mod n for a, b < n: returns whether n was put on.
DEVICE bool subtract_modulo(u32 *x, const u32 *a, const u32 *b, u32 in, const u32 *n) {
  u32 d[K], s[K];
  const bool below = subtract_digit(d, a, b, in);
  s[0] = add_cc(d[0], below ? n[0] : 0);
#pragma unroll
  for (int j = 1; j < K; j++) s[j] = addc_cc(d[j], below ? n[j] : 0);
  settle(s, addc(0, 0), 0);  // what comes out cancels the borrow
#pragma unroll
  for (int j = 0; j < K; j++) x[j] = s[j];
  return below;
}
