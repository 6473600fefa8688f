// The primitives of the kernels (see primitives.cuh) on the emulated machine.
#pragma once
#include "machine.hpp"

#define DEVICE static inline
#define KERNEL static void
#define SHARED_WORDS(name, words)           \
  alignas(16) static u32 name[words];       \
  emulator::know_shared(name, sizeof(name))

#define PRIMITIVE static inline __attribute__((always_inline))

// --- carry chains ---

PRIMITIVE u32 open_chain(u64 sum) {
  emulator::close_chain();
  emulator::set_carry(sum >> 32 & 1);
  return static_cast<u32>(sum);
}
PRIMITIVE u32 go_on(u64 sum) {
  emulator::set_carry(sum >> 32 & 1);
  return static_cast<u32>(sum);
}
PRIMITIVE u32 low(u32 a, u32 b) { return a * b; }
PRIMITIVE u32 high(u32 a, u32 b) { return static_cast<u64>(a) * b >> 32; }
PRIMITIVE u32 add_cc(u32 a, u32 b) { return open_chain(static_cast<u64>(a) + b); }
PRIMITIVE u32 addc_cc(u32 a, u32 b) { return go_on(static_cast<u64>(a) + b + emulator::take_carry()); }
PRIMITIVE u32 addc(u32 a, u32 b) { return a + b + emulator::take_carry(); }
PRIMITIVE u32 sub_cc(u32 a, u32 b) { return open_chain(static_cast<u64>(a) - b); }
PRIMITIVE u32 subc_cc(u32 a, u32 b) { return go_on(static_cast<u64>(a) - b - emulator::take_carry()); }
PRIMITIVE u32 subc(u32 a, u32 b) { return a - b - emulator::take_carry(); }
PRIMITIVE u32 mad_lo_cc(u32 a, u32 b, u32 c) { return open_chain(static_cast<u64>(low(a, b)) + c); }
PRIMITIVE u32 madc_lo_cc(u32 a, u32 b, u32 c) { return go_on(static_cast<u64>(low(a, b)) + c + emulator::take_carry()); }
PRIMITIVE u32 madc_hi_cc(u32 a, u32 b, u32 c) { return go_on(static_cast<u64>(high(a, b)) + c + emulator::take_carry()); }
PRIMITIVE u32 madc_hi(u32 a, u32 b, u32 c) { return high(a, b) + c + emulator::take_carry(); }
PRIMITIVE void carry_is_zero() {
  if (emulator::take_carry()) emulator::fail("a carry is 1 that was said to be 0");
}
PRIMITIVE void check(bool condition) {
  if (!condition) emulator::fail("a bound that the source states does not hold");
}

// --- where am I ---

PRIMITIVE u32 thread_index() { return emulator::thread(); }
PRIMITIVE u32 block_index() { return emulator::machine.block; }
PRIMITIVE u32 block_count() { return emulator::machine.blocks; }

// --- collectives: the place in the source is part of their kind, so that lanes at different ones are noticed ---

enum { FROM_LANE, FROM_BELOW, FROM_ABOVE, LANES_WHERE, SYNC_WARP };
PRIMITIVE u64 kind(u32 operation, u32 width, int line) {
  return static_cast<u64>(line) << 32 | width << 8 | operation;
}
template <int WIDTH> PRIMITIVE u32 from_lane(u32 v, int lane, int line = __builtin_LINE()) {
  const u32 me = emulator::machine.lane;
  return emulator::meet(kind(FROM_LANE, WIDTH, line), v)[me / WIDTH * WIDTH + (lane & (WIDTH - 1))];
}
template <int WIDTH> PRIMITIVE u32 from_below(u32 v, int line = __builtin_LINE()) {
  const u32 me = emulator::machine.lane;
  return emulator::meet(kind(FROM_BELOW, WIDTH, line), v)[me % WIDTH ? me - 1 : me];
}
template <int WIDTH> PRIMITIVE u32 from_above(u32 v, int line = __builtin_LINE()) {
  const u32 me = emulator::machine.lane;
  return emulator::meet(kind(FROM_ABOVE, WIDTH, line), v)[me % WIDTH < WIDTH - 1 ? me + 1 : me];
}
PRIMITIVE u32 lanes_where(bool v, int line = __builtin_LINE()) {
  const u32 *all = emulator::meet(kind(LANES_WHERE, 32, line), v);
  u32 lanes = 0;
  for (int i = 0; i < 32; i++) lanes |= all[i] << i;
  return lanes;
}
PRIMITIVE void sync_warp(int line = __builtin_LINE()) {
  emulator::meet(kind(SYNC_WARP, 32, line), 0, true);
}

// --- memory ---

template <class P> PRIMITIVE u64 address_of(P *p) { return reinterpret_cast<u64>(p); }
template <class V> PRIMITIVE V read(const V *p) {
  emulator::reading(address_of(p), sizeof(V));
  return *p;
}
template <class V> PRIMITIVE void write(V *p, V v) {
  emulator::writing(address_of(p), sizeof(V));
  *p = v;
}
PRIMITIVE uint4 read16(const u32 *p) {
  emulator::reading(address_of(p), 16);
  uint4 v;
  std::memcpy(&v, p, 16);
  return v;
}
PRIMITIVE void write16(u32 *p, uint4 v) {
  emulator::writing(address_of(p), 16);
  std::memcpy(p, &v, 16);
}
PRIMITIVE void write_minimum(int *p, int v) { emulator::minimum(address_of(p), v); }
PRIMITIVE u64 bits_of(double v) {
  u64 bits;
  std::memcpy(&bits, &v, 8);
  return bits;
}
PRIMITIVE void copy16(u32 *shared, const u32 *global) { emulator::begin_copy(address_of(shared), address_of(global)); }
PRIMITIVE void copies_until_here() { emulator::close_copies(); }
template <int N> PRIMITIVE void wait_for_copies() { emulator::end_copies(N); }
