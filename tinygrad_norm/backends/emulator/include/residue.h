// Residue: a number of a finite field in the place of double, so that a kernel's algebra is computed exactly.
//
// The field, its roots and what its numbers stand for are those of tinygrad_norm/proof/field.py. A Residue has the 8
// bytes of a double, so packs, shared memory and shuffles are those of a kernel's instance for double. It is either
//
//   a constant    that a kernel's text has, such as 0, 1 or 2¹⁰⁰: a double
//   a number      a NaN whose lower bits are a place in the launch's table, which has the residue, and the real value
//   outside       of the field: ∞ or NaN, or a NaN whose lower bits are the address of a reason, such as "exp is not
//                 algebraic"; so is every result that is computed from it, which a kernel may not use in the end
//
// The residue carries the algebra, and decides what is equal. The real value decides what is larger, as in an ordinary
// run: so guards are kept, and take the plain path. Every other step that is not exact ends the launch.
#pragma once
#include "cuda_emulator.h"

namespace emulator {

constexpr uint64_t kPrime = 2459559130353965639u;
constexpr uint64_t kNumber = 0x7ffcull << 48, kReason = 0x7ffdull << 48, kTag = 0xffffull << 48;
constexpr int kShort = 30;  // bits of a constant that is taken to be exact

struct Number {
  uint64_t residue;
  double value;
};

struct Table {  // proof/launches.py mirrors it
  uint64_t count, most;
  const char* error;  // why the launch ended
  void* place;        // in the code that called the operator
  uint64_t roots, unused;
  Number numbers[1];
};

static Table* table;

// End the launch, from within an operator, which is never inlined: so the place is a line of the kernel.
[[noreturn]] __forceinline__ void stop(const char* error) {
  table->error = error;
  table->place = __builtin_return_address(0);
  emulator_trap(error, nullptr, 0);
}

inline uint64_t product(uint64_t a, uint64_t b) { return uint64_t((unsigned __int128)a * b % kPrime); }

inline uint64_t power(uint64_t a, uint64_t exponent) {
  uint64_t result = 1;
  for (; exponent; exponent >>= 1, a = product(a, a)) {
    if (exponent & 1) result = product(result, a);
  }
  return result;
}

inline uint64_t inverse(uint64_t a) { return power(a, kPrime - 2); }

}  // namespace emulator

extern "C" EMULATOR_API void emulator_use_table(emulator::Table* given) { emulator::table = given; }

struct Residue {
  static constexpr const char* emulator_dtype = "uint64";
  double boxed;

  Residue() = default;
  template <class N, class = std::enable_if_t<std::is_arithmetic_v<N>>>
  constexpr Residue(N written) : boxed(double(written)) {}

  static __forceinline__ Residue number(uint64_t residue, double value) {
    emulator::Table& table = *emulator::table;
    if (table.count == table.most) emulator::stop("the launch computes more numbers than the table holds");
    table.numbers[table.count] = {residue, value};
    return emulator::bit_cast<Residue>(emulator::kNumber | table.count++);
  }
  static __forceinline__ Residue outside(const char* reason) {
    return emulator::bit_cast<Residue>(emulator::kReason | reinterpret_cast<uintptr_t>(reason));
  }

  __forceinline__ uint64_t bits() const {
    const uint64_t bits = emulator::bit_cast<uint64_t>(boxed);
    if (bits == ~0ull) emulator::stop("a number is read that was not written");
    return bits;
  }
  __forceinline__ bool is_number() const { return (bits() & emulator::kTag) == emulator::kNumber; }
  __forceinline__ bool is_outside() const { return !is_number() && !isfinite(boxed); }
  __forceinline__ const emulator::Number& stored() const { return emulator::table->numbers[bits() & ~emulator::kTag]; }

  __forceinline__ double value() const {
    if (is_number()) return stored().value;
    if ((bits() & emulator::kTag) == emulator::kReason) {  // nothing may be decided by such a value
      emulator::stop(reinterpret_cast<const char*>(bits() & ~emulator::kTag));
    }
    return boxed;
  }

  __forceinline__ uint64_t residue() const {
    if (is_number()) return stored().residue;
    int exponent;
    const double fraction = ldexp(frexp(fabs(boxed), &exponent), emulator::kShort);
    if (fraction != floor(fraction)) emulator::stop("a constant has more digits than one that is exact");
    exponent -= emulator::kShort;
    const uint64_t scale = emulator::power(2, uint64_t(exponent < 0 ? -exponent : exponent));
    const uint64_t size = emulator::product(uint64_t(fraction), exponent < 0 ? emulator::inverse(scale) : scale);
    return boxed < 0 && size ? emulator::kPrime - size : size;
  }
};

#define OPERATOR static __attribute__((noinline))

OPERATOR Residue operator+(Residue a, Residue b) {
  if (a.is_outside() || b.is_outside()) return a.is_outside() ? a : b;
  return Residue::number((a.residue() + b.residue()) % emulator::kPrime, a.value() + b.value());
}
OPERATOR Residue operator-(Residue a, Residue b) {
  if (a.is_outside() || b.is_outside()) return a.is_outside() ? a : b;
  return Residue::number((a.residue() + emulator::kPrime - b.residue()) % emulator::kPrime, a.value() - b.value());
}
OPERATOR Residue operator*(Residue a, Residue b) {
  if (a.is_outside() || b.is_outside()) return a.is_outside() ? a : b;
  return Residue::number(emulator::product(a.residue(), b.residue()), a.value() * b.value());
}
OPERATOR Residue operator/(Residue a, Residue b) {
  if (a.is_outside() || b.is_outside()) return a.is_outside() ? a : b;
  const uint64_t divisor = b.residue();
  if (divisor == 0) return a.value() / 0.0;
  return Residue::number(emulator::product(a.residue(), emulator::inverse(divisor)), a.value() / b.value());
}
OPERATOR Residue operator-(Residue a) {
  if (a.is_outside()) return isinf(a.boxed) ? Residue(-a.boxed) : a;
  return Residue::number((emulator::kPrime - a.residue()) % emulator::kPrime, -a.value());
}
__forceinline__ Residue& operator+=(Residue& a, Residue b) { return a = a + b; }
__forceinline__ Residue& operator-=(Residue& a, Residue b) { return a = a - b; }
__forceinline__ Residue& operator*=(Residue& a, Residue b) { return a = a * b; }
__forceinline__ Residue& operator/=(Residue& a, Residue b) { return a = a / b; }

OPERATOR bool operator==(Residue a, Residue b) {
  if (!a.is_number() && !b.is_number()) return a.value() == b.value();
  return !a.is_outside() && !b.is_outside() && a.residue() == b.residue();
}
__forceinline__ bool operator!=(Residue a, Residue b) { return !(a == b); }
OPERATOR bool operator<(Residue a, Residue b) { return a.value() < b.value(); }
__forceinline__ bool operator>(Residue a, Residue b) { return b < a; }
OPERATOR bool operator<=(Residue a, Residue b) { return a.value() <= b.value() || a == b; }
__forceinline__ bool operator>=(Residue a, Residue b) { return b <= a; }

__forceinline__ Residue fabs(Residue a) { return a < Residue(0) ? -a : a; }
__forceinline__ Residue abs(Residue a) { return fabs(a); }

// The root that is a square itself stands for the positive one.
OPERATOR Residue sqrt(Residue a) {
  if (a.is_outside()) return a;
  const uint64_t square = a.residue(), root = emulator::power(square, (emulator::kPrime + 1) / 4);
  if (emulator::product(root, root) != square) emulator::stop("no root");
  emulator::table->roots++;
  return Residue::number(root, sqrt(a.value()));
}
__forceinline__ Residue rsqrt(Residue a) { return Residue(1) / sqrt(a); }

// Powers of two, with which guards scale.
OPERATOR int ilogb(Residue a) { return ilogb(a.value()); }
__forceinline__ Residue scalbn(Residue a, int exponent) { return a * Residue(scalbn(1.0, exponent)); }

#define NOT_ALGEBRAIC(name) \
  __forceinline__ Residue name(Residue) { return Residue::outside(#name " is not algebraic"); }
NOT_ALGEBRAIC(exp)
NOT_ALGEBRAIC(exp2)
NOT_ALGEBRAIC(expm1)
NOT_ALGEBRAIC(log)
NOT_ALGEBRAIC(log1p)
NOT_ALGEBRAIC(log2)
NOT_ALGEBRAIC(tanh)
#undef NOT_ALGEBRAIC
__forceinline__ Residue pow(Residue, Residue) { return Residue::outside("pow is not algebraic"); }
#undef OPERATOR

// From here on, the kernel's text: its instance for double is the one for residues.
#define double Residue
