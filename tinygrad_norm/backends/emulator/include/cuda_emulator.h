// The shim with which a host compiler compiles a .cu file as C++.
//
// Every CUDA thread runs as a fiber, so functions that wait or exchange values call the runtime; the
// rest is plain C++. There are no atomics, on purpose: the kernels here do not use them.
#pragma once
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __restrict__ __restrict
#define __align__(bytes) __attribute__((aligned(bytes)))
// One OS thread runs one block at a time, so a block's shared memory is thread-local memory. In checked
// mode, the alignment leaves gaps between variables, so that a pointer cannot run into the next variable.
#ifdef EMULATOR_CHECKED
#define __shared__ thread_local __attribute__((aligned(16384)))
#else
#define __shared__ thread_local
#endif

#include "intrinsics.h"

namespace emulator {

template <class T>
inline T shuffle(const char* what, Shuffle kind, unsigned mask, T value, int source, int width,
                 const char* file, int line) {
  static_assert(sizeof(T) == 2 || sizeof(T) == 4 || sizeof(T) == 8, "shuffles move 2, 4 or 8 bytes");
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof(T));
  bits = emulator_shuffle(what, kind, mask, bits, source, width, file, line);
  memcpy(&value, &bits, sizeof(T));
  return value;
}

template <class To, class From>
inline To bit_cast(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof(To));
  return to;
}

}  // namespace emulator

// ---- indices and sizes

constexpr int warpSize = 32;
#define threadIdx (::emulator::emulator_thread_index())
#define blockIdx (::emulator::emulator_block_index())
#define blockDim (::emulator::emulator_block_size())
#define gridDim (::emulator::emulator_grid_size())

// ---- barriers, votes, shuffles: the default arguments pass the caller's place in the source

#define EMULATOR_PLACE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(EMULATOR_PLACE) {
  emulator::emulator_block_barrier("__syncthreads", emulator::Vote::any, 0, file, line);
}
inline int __syncthreads_or(int predicate, EMULATOR_PLACE) {
  return emulator::emulator_block_barrier("__syncthreads_or", emulator::Vote::any, predicate, file, line);
}
inline int __syncthreads_and(int predicate, EMULATOR_PLACE) {
  return emulator::emulator_block_barrier("__syncthreads_and", emulator::Vote::all, predicate, file, line);
}
inline int __syncthreads_count(int predicate, EMULATOR_PLACE) {
  return emulator::emulator_block_barrier("__syncthreads_count", emulator::Vote::count, predicate, file,
                                          line);
}
inline void __syncwarp(unsigned mask = 0xffffffffu, EMULATOR_PLACE) {
  emulator::emulator_warp_barrier(mask, file, line);
}
inline int __any_sync(unsigned mask, int predicate, EMULATOR_PLACE) {
  return emulator::emulator_warp_vote("__any_sync", emulator::Vote::any, mask, predicate, file, line);
}
inline int __all_sync(unsigned mask, int predicate, EMULATOR_PLACE) {
  return emulator::emulator_warp_vote("__all_sync", emulator::Vote::all, mask, predicate, file, line);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, EMULATOR_PLACE) {
  return emulator::emulator_warp_vote("__ballot_sync", emulator::Vote::ballot, mask, predicate, file, line);
}
template <class T>
inline T __shfl_sync(unsigned mask, T value, int lane, int width = 32, EMULATOR_PLACE) {
  return emulator::shuffle("__shfl_sync", emulator::Shuffle::index, mask, value, lane, width, file, line);
}
template <class T>
inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, EMULATOR_PLACE) {
  return emulator::shuffle("__shfl_up_sync", emulator::Shuffle::up, mask, value, int(delta), width, file,
                           line);
}
template <class T>
inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, EMULATOR_PLACE) {
  return emulator::shuffle("__shfl_down_sync", emulator::Shuffle::down, mask, value, int(delta), width, file,
                           line);
}
template <class T>
inline T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32, EMULATOR_PLACE) {
  return emulator::shuffle("__shfl_xor_sync", emulator::Shuffle::exclusive_or, mask, value, lane_mask, width,
                           file, line);
}

[[noreturn]] inline void __trap(EMULATOR_PLACE) { emulator::emulator_trap("__trap()", file, line); }
#undef assert
#define assert(condition) \
  ((condition) ? (void)0 : ::emulator::emulator_trap("assert(" #condition ")", __FILE__, __LINE__))

// ---- memory: fences do nothing, because fibers do not reorder accesses; cache hints change no values

inline void __threadfence() {}
inline void __threadfence_block() {}

template <class T>
inline T __ldg(const T* p) { return *p; }
template <class T>
inline T __ldcg(const T* p) { return *p; }
template <class T>
inline T __ldcs(const T* p) { return *p; }
template <class T>
inline void __stcg(T* p, T value) { *p = value; }
template <class T>
inline void __stcs(T* p, T value) { *p = value; }

// ---- arithmetic: fast intrinsics are computed exactly

inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
inline float rsqrt(float x) { return rsqrtf(x); }
inline float __frsqrt_rn(float x) { return rsqrtf(x); }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fdividef(float x, float y) { return x / y; }
inline float __fdiv_rn(float x, float y) { return x / y; }
inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __log2f(float x) { return log2f(x); }
inline float __powf(float x, float y) { return powf(x, y); }
inline float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }

template <class A, class B>
inline std::common_type_t<A, B> max(A a, B b) {
  using T = std::common_type_t<A, B>;
  if constexpr (std::is_floating_point_v<T>) return fmax(T(a), T(b));  // as in CUDA, NaN loses
  return T(a) > T(b) ? T(a) : T(b);
}
template <class A, class B>
inline std::common_type_t<A, B> min(A a, B b) {
  using T = std::common_type_t<A, B>;
  if constexpr (std::is_floating_point_v<T>) return fmin(T(a), T(b));
  return T(a) < T(b) ? T(a) : T(b);
}

inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned((unsigned long long)a * b >> 32); }
inline long long __mul64hi(long long a, long long b) { return (__int128(a) * b) >> 64; }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __float_as_int(float x) { return emulator::bit_cast<int>(x); }
inline unsigned __float_as_uint(float x) { return emulator::bit_cast<unsigned>(x); }
inline float __int_as_float(int x) { return emulator::bit_cast<float>(x); }
inline float __uint_as_float(unsigned x) { return emulator::bit_cast<float>(x); }
inline long long __double_as_longlong(double x) { return emulator::bit_cast<long long>(x); }
inline double __longlong_as_double(long long x) { return emulator::bit_cast<double>(x); }

#include "kernel_entry.h"
