// Floats → fixed-point integers, and several integers ↔ slots of one: a thread each.  See abi.py.
//
// Integers are two's complement of some words, lowest first.
#include "lanes.cuh"

// --- floats -----------------------------------------------------------------------------------------------

// magnitude / 2^shift rounded half to even, for a magnitude below 2^53.
DEVICE u64 rounded(u64 magnitude, int shift) {
  if (shift > 53) return 0;  // below 1/2
  const u64 whole = magnitude >> shift, rest = magnitude & ((1ull << shift) - 1), half = 1ull << (shift - 1);
  return whole + (rest > half || (rest == half && whole & 1));
}

// Whether ±magnitude·2^shift needs more than `bits` bits with its sign: 2^(bits−1) itself is there only below zero.
DEVICE bool too_large(u64 magnitude, int shift, bool negative, int bits) {
  const int room = bits - 1 - shift;
  if (room >= 64) return false;
  if (room < 0) return magnitude != 0;
  return magnitude >> room != 0 && !(negative && magnitude == 1ull << room);
}

// Word `index` of magnitude·2^shift.
DEVICE u32 shifted_word(u64 magnitude, int shift, int index) {
  const int place = 32 * index - shift;  // of the magnitude's bit that becomes the word's lowest
  if (place >= 64 || place <= -32) return 0;
  return static_cast<u32>(place >= 0 ? magnitude >> place : magnitude << -place);
}

// out[i] = round(values[i]·2^scale_bits).  A double is ±fraction·2^(exponent − 1075), the fraction below 2^53.
KERNEL encode_floats(u32 *out, const double *values, int scale_bits, int words, int *bad, int count) {
  const i64 i = thread_in_grid();
  if (i >= count) return;
  const u64 bits = bits_of(read(values + i));
  const int exponent = static_cast<int>(bits >> 52 & 0x7ff);
  const bool negative = bits >> 63;
  const u64 fraction = (bits & ((1ull << 52) - 1)) | (exponent > 0 ? 1ull << 52 : 0);
  const int shift = (exponent > 0 ? exponent : 1) - 1075 + scale_bits;
  const u64 magnitude = shift < 0 ? rounded(fraction, -shift) : fraction;
  const int left = shift < 0 ? 0 : shift;
  if (exponent == 0x7ff || too_large(magnitude, left, negative, 32 * words)) {
    write_minimum(bad, static_cast<int>(i));
    return;
  }
  u64 carry = negative;  // −x = ~x + 1
  for (int j = 0; j < words; j++) {
    const u32 word = shifted_word(magnitude, left, j);
    carry += negative ? ~word : word;
    write(out + i * words + j, static_cast<u32>(carry));
    carry >>= 32;
  }
}

// --- slots ------------------------------------------------------------------------------------------------

// 32 bits of a signed number from bit `place` on, place ≥ −31: zeros below the number, its sign above.
DEVICE u32 bits_from(const u32 *number, int words, int place) {
  const i32 sign = static_cast<i32>(read(number + words - 1)) >> 31;
  const int word = place >> 5;  // −1 below the number
  const u64 low = word < 0 ? 0 : word < words ? read(number + word) : static_cast<u32>(sign);
  const u64 high = word + 1 < words ? read(number + word + 1) : static_cast<u32>(sign);
  return static_cast<u32>((high << 32 | low) >> (place & 31));
}

// out[i] = Σ_j v[j]·2^(slot_bits·j), word by word.  A value adds its bits, and above its end its sign: all ones in
// every word for each negative value that has ended.
KERNEL pack_slots(u32 *out, int out_words, const u32 *values, int words, int length, int slots, int slot_bits,
                  int count) {
  const i64 i = thread_in_grid();
  if (i >= count) return;
  const int groups = (length + slots - 1) / slots;
  const i64 row = i / groups;
  const int first = static_cast<int>(i % groups) * slots;
  const int used = length - first < slots ? length - first : slots;
  const u32 *const v = values + (row * length + first) * words;
  u64 carry = 0, negative = 0;
  int ended = 0;  // values that end at or below the word
  for (int o = 0; o < out_words; o++) {
    for (; ended < used && ended * slot_bits + 32 * words <= 32 * o; ended++)
      negative += read(v + (ended + 1) * words - 1) >> 31;
    carry += negative * ALL_ONES;
    for (int j = ended; j < used && j * slot_bits < 32 * o + 32; j++)
      carry += bits_from(v + j * words, words, 32 * o - j * slot_bits);
    write(out + i * out_words + o, static_cast<u32>(carry));
    carry >>= 32;
  }
}

// The carry out of the slots below slot j when half a slot is added to each of them: slot k carries if its top bit
// is set; it does not if another bit is missing; and where it is just half − 1, slot k − 1 decides.
DEVICE bool carry_from_below(const u32 *number, int words, int slot_bits, int j) {
  for (int k = j - 1; k >= 0; k--) {
    const int first = k * slot_bits, top = first + slot_bits - 1;
    if (bits_from(number, words, top) & 1) return true;
    bool ones = true;
    for (int place = first; place < top; place += 32) {
      const u32 beyond = top - place < 32 ? ALL_ONES << (top - place) : 0;
      ones = ones && (bits_from(number, words, place) | beyond) == ALL_ONES;
    }
    if (!ones) return false;
  }
  return false;
}

// out[i] = signed slot j of a packed number: its bits, a carry from below, and the slot's top bit as sign.
KERNEL unpack_slots(u32 *out, int words, const u32 *packed, int packed_words, int length, int slots, int slot_bits,
                    int count) {
  const i64 i = thread_in_grid();
  if (i >= count) return;
  const int groups = (length + slots - 1) / slots;
  const int place = static_cast<int>(i % length), j = place % slots;
  const u32 *const number = packed + (i / length * groups + place / slots) * packed_words;
  u64 carry = carry_from_below(number, packed_words, slot_bits, j);
  u32 sign = 0;
  for (int o = 0; o < words; o++) {
    const int left = slot_bits - 32 * o;  // bits of the slot from this word on
    u32 word = sign;
    if (left > 0) {
      const u32 mask = left < 32 ? (1u << left) - 1 : ALL_ONES;
      carry += bits_from(number, packed_words, j * slot_bits + 32 * o) & mask;
      word = static_cast<u32>(carry) & mask;
      carry >>= 32;
      if (left <= 32) {
        sign = word >> (left - 1) & 1 ? ALL_ONES : 0;
        word |= sign & ~mask;
      }
    }
    write(out + i * words + o, word);
  }
}
