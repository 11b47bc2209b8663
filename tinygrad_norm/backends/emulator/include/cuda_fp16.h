// __half: IEEE binary16, converted exactly, rounded to nearest even.
#pragma once
#include "half_rounding.h"

namespace emulator {

inline float half_to_float(uint16_t half) {
  uint32_t sign = uint32_t(half & 0x8000u) << 16, exponent = (half >> 10) & 31u, mantissa = half & 0x3ffu;
  if (exponent == 31) return bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent != 0) return bit_cast<float>(sign | ((exponent + 112u) << 23) | (mantissa << 13));
  float subnormal = float(mantissa) * 0x1p-24f;
  return sign ? -subnormal : subnormal;
}

inline uint16_t float_to_half(float x) {
  uint32_t bits = bit_cast<uint32_t>(x), sign = (bits >> 16) & 0x8000u;
  bits &= 0x7fffffffu;
  if (bits > 0x7f800000u) return 0x7fff;                    // NaN, as cvt.rn.f16.f32 writes it
  if (bits >= 0x477ff000u) return uint16_t(sign | 0x7c00u);  // from 65520 on: infinity
  if (bits < 0x38800000u) {                                 // below 2^-14: subnormal
    return uint16_t(sign | uint32_t(nearbyintf(bit_cast<float>(bits) * 0x1p24f)));
  }
  uint32_t rounded = bits + 0xfffu + ((bits >> 13) & 1u);
  return uint16_t(sign | ((rounded - 0x38000000u) >> 13));
}

}  // namespace emulator

struct alignas(2) __half {
  static constexpr const char* emulator_dtype = "float16";
  uint16_t bits;

  __half() = default;
  __half(float x) : bits(emulator::float_to_half(x)) {}
  __half(double x) : bits(emulator::float_to_half(emulator::round_to_odd(x))) {}
  __half(int x) : __half(double(x)) {}
  operator float() const { return emulator::half_to_float(bits); }
};
using half = __half;

struct alignas(4) __half2 {
  __half x, y;
};
using half2 = __half2;

EMULATOR_16BIT_ARITHMETIC(__half)

inline float __half2float(__half x) { return float(x); }
inline __half __float2half(float x) { return __half(x); }
inline __half __float2half_rn(float x) { return __half(x); }
inline __half __double2half(double x) { return __half(x); }
inline unsigned short __half_as_ushort(__half x) { return x.bits; }
inline __half __ushort_as_half(unsigned short bits) { return emulator::bit_cast<__half>(bits); }

inline __half2 make_half2(__half x, __half y) { return {x, y}; }
inline __half2 __halves2half2(__half x, __half y) { return {x, y}; }
inline __half2 __half2half2(__half x) { return {x, x}; }
inline __half2 __floats2half2_rn(float x, float y) { return {__half(x), __half(y)}; }
inline __half2 __float22half2_rn(float2 v) { return {__half(v.x), __half(v.y)}; }
inline float2 __half22float2(__half2 v) { return {float(v.x), float(v.y)}; }
inline __half __low2half(__half2 v) { return v.x; }
inline __half __high2half(__half2 v) { return v.y; }
inline float __low2float(__half2 v) { return float(v.x); }
inline float __high2float(__half2 v) { return float(v.y); }
