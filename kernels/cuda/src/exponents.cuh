// Digits of exponents: non-negative integers of some words, lowest first.
#pragma once
#include "primitives.cuh"

// Bits place … place + bits − 1 of an exponent of `words` words, bits ≤ 32; beyond its end they are 0.
DEVICE u32 exponent_digit(const u32 *exponent, int words, int place, int bits) {
  const int word = place >> 5;
  const u64 low = word < words ? read(exponent + word) : 0;
  const u64 high = word + 1 < words ? read(exponent + word + 1) : 0;
  return static_cast<u32>((high << 32 | low) >> (place & 31)) & static_cast<u32>((1ull << bits) - 1);
}
