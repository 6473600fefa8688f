// What the multiplier of a device reaches with nothing else to do: see abi.py, `word_products`.
//
// Each step of a chain is a product of 32 × 32 bits plus 64 bits, written as in a product of rows: low and high word
// become one IMAD.WIDE.  A chain waits for itself only.
#include "lanes.cuh"

constexpr int PROBE_CHAINS = 8;

KERNEL word_products(u32 *out, int rounds, int count) {
  const i64 i = thread_in_grid();
  if (i >= count) return;
  const u32 factor = static_cast<u32>(2 * i + 1);
  u32 low[PROBE_CHAINS], high[PROBE_CHAINS];
#pragma unroll
  for (int j = 0; j < PROBE_CHAINS; j++) {
    low[j] = static_cast<u32>(i + j);
    high[j] = static_cast<u32>((i + j) >> 32);
  }
#pragma unroll 8
  for (int round = 0; round < rounds; round++) {
#pragma unroll
    for (int j = 0; j < PROBE_CHAINS; j++) {
      const u32 a = low[j];
      low[j] = mad_lo_cc(a, factor, a);
      high[j] = madc_hi(a, factor, high[j]);
    }
  }
  u32 all = 0;
#pragma unroll
  for (int j = 0; j < PROBE_CHAINS; j++) all ^= low[j] ^ high[j];
  write(out + i, all);
}
