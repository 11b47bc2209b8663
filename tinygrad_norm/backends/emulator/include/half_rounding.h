// Rounding for both 16-bit formats.
#pragma once
#include "cuda_emulator.h"

namespace emulator {

// A double rounded to float "to odd": rounding the result again, to 16 bits, is then correct.
inline float round_to_odd(double x) {
  float nearest = float(x);
  if (double(nearest) == x || x != x) return nearest;
  uint32_t bits = bit_cast<uint32_t>(nearest);
  if (fabs(double(nearest)) > fabs(x)) bits -= 1;
  return bit_cast<float>(bits | 1u);
}

}  // namespace emulator

#define EMULATOR_16BIT_ARITHMETIC(T)                                         \
  inline T operator+(T a, T b) { return T(float(a) + float(b)); }            \
  inline T operator-(T a, T b) { return T(float(a) - float(b)); }            \
  inline T operator*(T a, T b) { return T(float(a) * float(b)); }            \
  inline T operator/(T a, T b) { return T(float(a) / float(b)); }            \
  inline T operator-(T a) { return T(-float(a)); }                           \
  inline T& operator+=(T& a, T b) { return a = a + b; }                      \
  inline T& operator-=(T& a, T b) { return a = a - b; }                      \
  inline T& operator*=(T& a, T b) { return a = a * b; }                      \
  inline T& operator/=(T& a, T b) { return a = a / b; }
