// Primitives: the only file that knows whether a GPU runs the kernels or the host emulator of the tests.
//
// Carry chains.  The arithmetic flag of a lane is set by `…_cc` and read by `addc…`, `subc…`, `madc…`.  A chain
// begins with an instruction that does not read the flag and ends with one that does not set it.  Where the last
// carry is known to be 0, carry_is_zero() ends the chain.  No warp collective may stand inside a chain.  The
// emulator checks all of this; on the GPU a chain is kept together by `asm volatile`.
//
// Warp collectives take all 32 lanes: no lane of a warp may leave a kernel or a loop before the others.
// Addresses of 16-byte accesses are multiples of 16.
#pragma once

#if defined(__CUDACC__)

typedef unsigned int u32;
typedef unsigned long long u64;
typedef int i32;
typedef long long i64;

#define DEVICE static __device__ __forceinline__
#define KERNEL extern "C" __global__ void __launch_bounds__(THREADS)
#define SHARED_WORDS(name, words) __shared__ __align__(16) u32 name[words]

#define CARRY_OF_TWO(name, instruction)                                                   \
  DEVICE u32 name(u32 a, u32 b) {                                                         \
    u32 r;                                                                                \
    asm volatile(instruction ".u32 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));              \
    return r;                                                                             \
  }
#define CARRY_OF_THREE(name, instruction)                                                 \
  DEVICE u32 name(u32 a, u32 b, u32 c) {                                                  \
    u32 r;                                                                                \
    asm volatile(instruction ".u32 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(c));  \
    return r;                                                                             \
  }
CARRY_OF_TWO(add_cc, "add.cc")         // a + b
CARRY_OF_TWO(addc_cc, "addc.cc")       // a + b + carry
CARRY_OF_TWO(addc, "addc")
CARRY_OF_TWO(sub_cc, "sub.cc")         // a − b
CARRY_OF_TWO(subc_cc, "subc.cc")       // a − b − borrow
CARRY_OF_TWO(subc, "subc")
CARRY_OF_THREE(mad_lo_cc, "mad.lo.cc")     // low word of a·b, + c
CARRY_OF_THREE(madc_lo_cc, "madc.lo.cc")
CARRY_OF_THREE(madc_hi_cc, "madc.hi.cc")   // high word of a·b, + c + carry
CARRY_OF_THREE(madc_hi, "madc.hi")
#undef CARRY_OF_TWO
#undef CARRY_OF_THREE
DEVICE void carry_is_zero() {}
DEVICE void check(bool) {}

DEVICE u32 thread_index() { return threadIdx.x; }
DEVICE u32 block_index() { return blockIdx.x; }
DEVICE u32 block_count() { return gridDim.x; }

// Collectives; WIDTH neighbouring lanes exchange among themselves.
template <int WIDTH> DEVICE u32 from_lane(u32 v, int lane) { return __shfl_sync(0xffffffffu, v, lane, WIDTH); }
template <int WIDTH> DEVICE u32 from_below(u32 v) { return __shfl_up_sync(0xffffffffu, v, 1, WIDTH); }
template <int WIDTH> DEVICE u32 from_above(u32 v) { return __shfl_down_sync(0xffffffffu, v, 1, WIDTH); }
DEVICE u32 lanes_where(bool v) { return __ballot_sync(0xffffffffu, v); }
DEVICE void sync_warp() { __syncwarp(); }

// Memory, global or shared.
template <class V> DEVICE V read(const V *p) { return *p; }
template <class V> DEVICE void write(V *p, V v) { *p = v; }
DEVICE uint4 read16(const u32 *p) { return *reinterpret_cast<const uint4 *>(p); }
DEVICE void write16(u32 *p, uint4 v) { *reinterpret_cast<uint4 *>(p) = v; }
DEVICE void write_minimum(int *p, int v) { atomicMin(p, v); }
DEVICE u64 bits_of(double v) { return static_cast<u64>(__double_as_longlong(v)); }

// 16 bytes from global to shared memory behind the lane's back.  copies_until_here() closes a set of copies;
// wait_for_copies<N>() returns when all but the last N sets have arrived, for the lane that asked for them:
// sync_warp() before another lane reads them.
DEVICE void copy16(u32 *shared, const u32 *global) {
  const u32 to = static_cast<u32>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(global) : "memory");
}
DEVICE void copies_until_here() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N> DEVICE void wait_for_copies() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }

#else
#include "emulator.hpp"
#endif
