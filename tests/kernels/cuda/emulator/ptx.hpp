// What translated PTX (see ptx.py) needs of the emulated machine besides the primitives.
//
// Addresses of shared memory are offsets into the array that the entry point declares.
#pragma once
#include "emulator.hpp"

namespace ptx {

template <class V> V load(u64 address) {
  emulator::reading(address, sizeof(V));
  V v;
  std::memcpy(&v, reinterpret_cast<void *>(address), sizeof(V));
  return v;
}
template <class V> void store(u64 address, V v) {
  emulator::writing(address, sizeof(V));
  std::memcpy(reinterpret_cast<void *>(address), &v, sizeof(V));
}
inline void load4(u64 address, u32 &x, u32 &y, u32 &z, u32 &w) {
  const uint4 v = load<uint4>(address);
  x = v.x, y = v.y, z = v.z, w = v.w;
}
inline void store4(u64 address, u32 x, u32 y, u32 z, u32 w) { store(address, uint4{x, y, z, w}); }

// Collectives: `place` is their number in the program, so that lanes at different ones are noticed.
inline void check_mask(u32 mask) {
  if (mask != 0xffffffff) emulator::fail("a collective of some lanes only");
}

enum Shuffle { IDX, UP, DOWN };
// shfl.sync: bits 8 … 12 of `clamp` split the warp into segments, bits 0 … 4 bound the lanes that are read.
template <Shuffle MODE> u32 shuffle(u32 place, u32 v, u32 by, u32 clamp, u32 mask, bool &inside) {
  check_mask(mask);
  const u32 me = emulator::machine.lane, segment = clamp >> 8 & 31, bound = clamp & 31;
  const u32 first = me & segment, last = first | (bound & ~segment);
  by &= 31;
  u32 from = MODE == IDX ? first | (by & ~segment) : MODE == UP ? me - by : me + by;
  // For `up` the bound is the lowest lane that may be read: that of the segment.
  inside = MODE == UP ? static_cast<i32>(from) >= static_cast<i32>(last) : from <= last;
  const u32 *all = emulator::meet(kind(FROM_LANE, MODE, place), v);
  return all[inside ? from : me];
}
inline u32 ballot(u32 place, bool v, u32 mask) {
  check_mask(mask);
  const u32 *all = emulator::meet(kind(LANES_WHERE, 32, place), v);
  u32 lanes = 0;
  for (int i = 0; i < 32; i++) lanes |= all[i] << i;
  return lanes;
}
inline void warp_barrier(u32 place, u32 mask) {
  check_mask(mask);
  sync_warp(place);
}

// Shifts by as much as the width or more give 0, or the sign.
template <class V> V shift_left(V v, u32 by) { return by < 8 * sizeof(V) ? v << by : 0; }
template <class V> V shift_right(V v, u32 by) { return v >> (by < 8 * sizeof(V) ? by : 8 * sizeof(V) - 1); }
template <> inline u32 shift_right(u32 v, u32 by) { return by < 32 ? v >> by : 0; }
template <> inline u64 shift_right(u64 v, u32 by) { return by < 64 ? v >> by : 0; }

inline u64 insert_bits(u64 field, u64 into, u32 place, u32 count) {
  const u64 mask = shift_left<u64>(count < 64 ? (1ull << count) - 1 : ~0ull, place & 255);
  return (into & ~mask) | (shift_left<u64>(field, place & 255) & mask);
}

}  // namespace ptx
