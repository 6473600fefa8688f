// A GPU for the kernels, on the host: lanes, collectives, memory.  README.md says what it checks and what not.
//
// Every lane is a fibre with a stack of its own.  A warp's 32 fibres run one after the other: a lane that comes to
// a collective gives way to the next one, and when the last has arrived all go on.  So a lane that is resumed and
// finds one missing knows that the warp has diverged.  Warps run one after the other, and blocks too: the kernels
// have no barrier between the warps of a block.
#pragma once
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <vector>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

typedef uint32_t u32;
typedef uint64_t u64;
typedef uint16_t u16;
typedef int16_t i16;
typedef int32_t i32;
typedef int64_t i64;
struct alignas(16) uint4 {
  u32 x, y, z, w;
};

namespace emulator {

constexpr u32 WARP = 32, BLOCK = 128;
// Translated PTX has thousands of variables.  Not a power of two: the lanes' stacks must not share cache sets.
constexpr size_t STACK = (256 << 10) + 1088;
constexpr u32 POISON = 0xcdcdcdcd;
constexpr u32 NOBODY = 0, SEVERAL = 0xfffffffe, ON_ITS_WAY = 0xffffffff;  // else 1 + number of a thread

// What a launch gets of every buffer, from Python.
struct Buffer {
  u64 address, bytes;
  u32 writable;
};

// Who touched a word of memory last, and in which phase (between two sync_warp) of its warp.
struct Touch {
  u32 writer, written_in, reader, read_in;
};

struct Memory {
  u64 begin, end;
  bool writable, shared;
  std::vector<Touch> touched;
};

struct Copy {
  u64 to, from;
  u32 set;
};

struct Lane {
  void *stack_pointer;
  bool started, ended;
  u32 collectives, open_set;
  std::vector<Copy> copies;
#if !defined(__x86_64__)
  ucontext_t context;
#endif
};

// A collective: the values of those who have arrived.  Two in turn, as a lane may be at the next one while others
// have not yet read the last.
struct Meeting {
  u32 arrived;
  u64 kind;
  u32 value[WARP];
};

struct Machine {
  u32 block, blocks, warp, lane;
  u32 phase;
  u32 running;
  bool failed;
  char message[512];
  Lane lanes[WARP];
  Meeting meetings[2];
  std::vector<char> stacks;
  std::vector<Memory> memory;
  Memory *recent;
  std::function<void()> kernel;
  void *outside;
#if !defined(__x86_64__)
  ucontext_t outside_context;
#endif
};
static Machine machine;

// The carry flag: 0 or 1 while it waits to be read, else CLOSED.
constexpr u32 CLOSED = 2;
static u32 carry_flag = CLOSED;

inline u32 thread() { return machine.warp * WARP + machine.lane; }
inline u32 thread_in_grid() { return machine.block * BLOCK + thread() + 1; }

// --- fibres ----------------------------------------------------------------------------------------------

#if defined(__x86_64__)
extern "C" void emulator_switch(void **save, void *to);
asm(R"(
  .text
  .local emulator_switch
  .type emulator_switch, @function
emulator_switch:
  push %rbp
  push %rbx
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, (%rdi)
  mov %rsi, %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  pop %rbp
  ret
  .size emulator_switch, . - emulator_switch
)");
#endif

[[noreturn]] inline void lane_main();

inline char *stack_of(u32 lane) { return machine.stacks.data() + lane * STACK; }

// Saves where we are in *from (a lane, or null for outside) and goes on with lane `to` (WARP: outside).
inline void switch_to(Lane *from, u32 to) {
#if defined(__x86_64__)
  void **save = from ? &from->stack_pointer : &machine.outside;
  if (to == WARP) return emulator_switch(save, machine.outside);
  Lane &lane = machine.lanes[to];
  machine.lane = to;
  if (!lane.started) {
    lane.started = true;
    void **top = reinterpret_cast<void **>(reinterpret_cast<uintptr_t>(stack_of(to) + STACK - 64) & ~uintptr_t(15));
    *--top = nullptr;
    *--top = reinterpret_cast<void *>(lane_main);
    for (int saved = 0; saved < 6; saved++) *--top = nullptr;
    lane.stack_pointer = top;
  }
  emulator_switch(save, lane.stack_pointer);
#else
  ucontext_t *save = from ? &from->context : &machine.outside_context;
  if (to == WARP) {
    swapcontext(save, &machine.outside_context);
    return;
  }
  Lane &lane = machine.lanes[to];
  machine.lane = to;
  if (!lane.started) {
    lane.started = true;
    getcontext(&lane.context);
    lane.context.uc_stack.ss_sp = stack_of(to);
    lane.context.uc_stack.ss_size = STACK;
    lane.context.uc_link = nullptr;
    makecontext(&lane.context, reinterpret_cast<void (*)()>(lane_main), 0);
  }
  swapcontext(save, &lane.context);
#endif
}

// Ends the launch with a message; never returns to the lane.
[[noreturn]] __attribute__((format(printf, 1, 2), noinline, cold)) inline void fail(const char *format, ...) {
  char *text = machine.message;
  text += std::snprintf(text, 96, "block %u, thread %u: ", machine.block, thread());
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, 384, format, arguments);
  va_end(arguments);
  machine.failed = true;
  for (;;) switch_to(&machine.lanes[machine.lane], WARP);
}

// The next lane that has not ended; WARP if there is none.
inline u32 next_lane() {
  for (u32 step = 1; step <= WARP; step++) {
    const u32 next = (machine.lane + step) % WARP;
    if (!machine.lanes[next].ended) return next;
  }
  return WARP;
}

// --- carry chains ----------------------------------------------------------------------------------------

inline void close_chain() {
  if (carry_flag == 1) fail("a carry of 1 is lost: its chain ended before it was read");
  carry_flag = CLOSED;
}
inline void set_carry(u32 carry) { carry_flag = carry; }
inline u32 take_carry() {
  const u32 carry = carry_flag;
  if (carry == CLOSED) fail("a carry is read that no instruction of this chain has set");
  carry_flag = CLOSED;
  return carry;
}

// --- collectives -----------------------------------------------------------------------------------------

// All lanes of the warp bring a value; returns the values of all, valid until the lane's next collective.
// `orders`: memory touched before is ordered before memory touched afterwards.
inline const u32 *meet(u64 kind, u32 value, bool orders = false) {
  close_chain();
  Lane &me = machine.lanes[machine.lane];
  Meeting &meeting = machine.meetings[me.collectives++ % 2];
  if (meeting.arrived == WARP) meeting.arrived = 0;
  if (meeting.arrived == 0) meeting.kind = kind;
  if (meeting.kind != kind) fail("the warp has diverged: lanes are at different collectives");
  meeting.value[machine.lane] = value;
  if (++meeting.arrived < WARP) {
    const u32 next = next_lane();
    if (next != machine.lane) switch_to(&me, next);
    if (meeting.arrived < WARP) fail("the warp has diverged: %u lanes came to a collective", meeting.arrived);
  } else if (orders) {
    machine.phase++;
  }
  return meeting.value;
}

// --- memory ----------------------------------------------------------------------------------------------

inline Memory &find(u64 address, u64 bytes, const char *what) {
  if (machine.recent && address >= machine.recent->begin && address + bytes <= machine.recent->end)
    return *machine.recent;
  for (Memory &memory : machine.memory)
    if (address >= memory.begin && address + bytes <= memory.end) return *(machine.recent = &memory);
  for (Memory &memory : machine.memory)
    if (address >= memory.begin && address < memory.end + 4096)
      fail("%s outside its buffer: %llu bytes at offset %llu of %llu", what, (unsigned long long)bytes,
           (unsigned long long)(address - memory.begin), (unsigned long long)(memory.end - memory.begin));
  fail("%s outside all buffers of the launch", what);
}

// Whether a touch by `who` in `phase` is ordered before one of ours.
inline bool ordered(u32 who, u32 phase) {
  if (who == NOBODY || who == thread_in_grid()) return true;
  if (who == SEVERAL) return phase < machine.phase;
  return (who - 1) / WARP == (thread_in_grid() - 1) / WARP && phase < machine.phase;
}

inline void note_read(Memory &memory, u64 address, u64 bytes) {
  if (memory.touched.empty()) return;
  for (u64 word = (address - memory.begin) / 4; word <= (address + bytes - 1 - memory.begin) / 4; word++) {
    Touch &touch = memory.touched[word];
    if (touch.writer == ON_ITS_WAY) fail("reads what an asynchronous copy has not yet brought");
    if (memory.shared && touch.writer == NOBODY) fail("reads shared memory that nobody has written");
    if (!ordered(touch.writer, touch.written_in)) fail("reads what thread %u wrote, unordered", touch.writer - 1);
    const bool others = touch.reader != NOBODY && touch.reader != thread_in_grid() && touch.read_in == machine.phase;
    touch.reader = others ? SEVERAL : thread_in_grid();
    touch.read_in = machine.phase;
  }
}
inline void note_write(Memory &memory, u64 address, u64 bytes, u32 writer) {
  if (!memory.writable) fail("writes to a buffer that it may only read");
  if (memory.touched.empty()) return;
  for (u64 word = (address - memory.begin) / 4; word <= (address + bytes - 1 - memory.begin) / 4; word++) {
    Touch &touch = memory.touched[word];
    if (touch.writer == ON_ITS_WAY) fail("writes where an asynchronous copy is on its way");
    if (!ordered(touch.writer, touch.written_in)) fail("writes over what thread %u wrote, unordered", touch.writer - 1);
    if (!ordered(touch.reader, touch.read_in)) fail("writes over what another thread still reads");
    touch.writer = writer;
    touch.written_in = machine.phase;
  }
}

inline void check_aligned(u64 address, u64 bytes) {
  if (address % bytes) fail("%u bytes at an address that is no multiple of it", (u32)bytes);
}
inline void reading(u64 address, u64 bytes) {
  check_aligned(address, bytes);
  note_read(find(address, bytes, "reads"), address, bytes);
}
inline void writing(u64 address, u64 bytes) {
  check_aligned(address, bytes);
  note_write(find(address, bytes, "writes"), address, bytes, thread_in_grid());
}

// An atomic minimum: ordered with other atomics, and not checked against plain accesses.
inline i32 minimum(u64 address, i32 value) {
  check_aligned(address, 4);
  if (!find(address, 4, "writes").writable) fail("writes to a buffer that it may only read");
  i32 &there = *reinterpret_cast<i32 *>(address);
  const i32 before = there;
  if (value < there) there = value;
  return before;
}

// The shared arrays of a kernel: the first lane of a block that comes by makes them known.
inline void know_shared(void *array, u64 bytes) {
  const u64 begin = reinterpret_cast<u64>(array);
  for (const Memory &memory : machine.memory)
    if (memory.shared && memory.begin == begin) return;
  std::memset(array, POISON & 0xff, bytes);
  machine.memory.push_back({begin, begin + bytes, true, true, std::vector<Touch>(bytes / 4)});
  machine.recent = nullptr;
}

// A copy begins where no other lane still reads, and arrives as late as it may: when it is waited for.
inline void begin_copy(u64 to, u64 from) {
  reading(from, 16);
  writing(to, 16);
  Memory &memory = find(to, 16, "copies to");
  if (!memory.shared) fail("an asynchronous copy goes to shared memory only");
  for (u64 word = 0; word < 4; word++) memory.touched[(to - memory.begin) / 4 + word].writer = ON_ITS_WAY;
  for (u64 word = 0; word < 4; word++) reinterpret_cast<u32 *>(to)[word] = POISON;
  Lane &me = machine.lanes[machine.lane];
  me.copies.push_back({to, from, me.open_set});
}
inline void close_copies() { machine.lanes[machine.lane].open_set++; }
inline void end_copies(u32 pending) {
  Lane &me = machine.lanes[machine.lane];
  size_t kept = 0;
  for (const Copy &copy : me.copies) {
    if (copy.set + pending >= me.open_set) {
      me.copies[kept++] = copy;
      continue;
    }
    std::memcpy(reinterpret_cast<void *>(copy.to), reinterpret_cast<void *>(copy.from), 16);
    Memory &memory = find(copy.to, 16, "copies to");
    for (u64 word = 0; word < 4; word++)
      memory.touched[(copy.to - memory.begin) / 4 + word] = {thread_in_grid(), machine.phase, NOBODY, 0};
  }
  me.copies.resize(kept);
}

// --- launches --------------------------------------------------------------------------------------------

inline void lane_main() {
  carry_flag = CLOSED;
  u64 &bottom = *reinterpret_cast<u64 *>((reinterpret_cast<uintptr_t>(stack_of(machine.lane)) + 15) & ~uintptr_t(15));
  bottom = POISON;
  machine.kernel();
  close_chain();
  if (bottom != POISON) fail("the lane's stack is too small");
  if (!machine.lanes[machine.lane].copies.empty()) fail("ends with a copy under way");
  machine.lanes[machine.lane].ended = true;
  machine.running--;
  for (;;) switch_to(&machine.lanes[machine.lane], machine.running ? next_lane() : WARP);
}

inline bool run_warp() {
  machine.running = WARP;
  machine.phase = 1;
  machine.meetings[0].arrived = machine.meetings[1].arrived = 0;
  for (Lane &lane : machine.lanes) {
    lane.started = lane.ended = false;
    lane.collectives = lane.open_set = 0;
    lane.copies.clear();
  }
  switch_to(nullptr, 0);
  return !machine.failed;
}

// Runs the kernel on `blocks` blocks; returns null, or what went wrong.
inline const char *launch(u32 blocks, const Buffer *buffers, u32 buffer_count, std::function<void()> kernel) {
  machine.failed = false;
  machine.kernel = std::move(kernel);
  machine.stacks.resize(WARP * STACK);
  machine.memory.clear();
  machine.recent = nullptr;
  machine.blocks = blocks;
  for (u32 i = 0; i < buffer_count; i++) {
    const Buffer &b = buffers[i];
    const u64 words = b.writable ? (b.bytes + 3) / 4 : 0;
    machine.memory.push_back({b.address, b.address + b.bytes, b.writable != 0, false, std::vector<Touch>(words)});
  }
  for (machine.block = 0; machine.block < blocks; machine.block++) {
    machine.memory.resize(buffer_count);
    machine.recent = nullptr;
    for (machine.warp = 0; machine.warp < BLOCK / WARP; machine.warp++)
      if (!run_warp()) return machine.message;
  }
  return nullptr;
}

}  // namespace emulator
