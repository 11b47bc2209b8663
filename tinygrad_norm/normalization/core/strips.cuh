// Strips of x (N, C, S): parts of one channel that are short enough to stay in registers. strips.py chooses them.
//
// If S is large, a strip is a part of the S positions of one sample, and a team of 8 to 256 threads has it. If S is
// small, a strip is one position of KEPT samples, and one thread has it (TEAM = 1): neighbouring threads have
// neighbouring positions, so a warp still reads 128 bytes at once. Strip j = (o·C + c)·I + i has channel c; (O, I) is
// (N, pieces), or (chunks of samples, S).

struct Strip {
  long long start, stride, channel, place;
  int length;
};

// `whole` is the length of all strips but the last ones; for inverse_C and inverse_I see `quotient`. A strip that
// does not exist has length 0. (Without its start of 0, the compiler splits a 16-byte store into four.)
template <int TEAM>
__device__ __forceinline__ Strip strip(long long j, long long N, long long C, long long S, long long I, long long whole,
                                       long long inverse_C, long long inverse_I) {
  const long long row = quotient(j, inverse_I), inner = j - row * I;
  const long long outer = quotient(row, inverse_C), c = row - outer * C;
  const long long sample = TEAM == 1 ? outer * whole : outer, first = TEAM == 1 ? inner : inner * whole;
  const long long rest = sample < N ? (TEAM == 1 ? N - sample : S - first) : 0;
  return {sample < N ? (sample * C + c) * S + first : 0, TEAM == 1 ? C * S : 1, c, (outer * I + inner) * C + c,
          int(min(rest, whole))};
}

// Call f(k, pack index) for the packs `first` to first + COUNT - 1 of this thread in its strip.
template <int VEC, int TEAM, int COUNT, class F>
__device__ __forceinline__ void each_pack(const Strip& s, int first, F f) {
#pragma unroll
  for (int k = 0; k < COUNT; k++) {
    const int within = ((first + k) * TEAM + lane_of_team<TEAM>()) * VEC;
    if (within < s.length) f(k, s.start + within * s.stride);
  }
}

// These packs, all loaded before one is used.
template <class T, int VEC, int TEAM, int COUNT>
struct Packs {
  Pack<T, VEC> at[COUNT];

  __device__ __forceinline__ Packs(const T* x, const Strip& s, int first = 0) {
#pragma unroll
    for (int k = 0; k < COUNT; k++) {
      const int within = ((first + k) * TEAM + lane_of_team<TEAM>()) * VEC;
      at[k] = within < s.length ? load<VEC>(x + s.start + within * s.stride) : Pack<T, VEC>{};
    }
  }
};

// How many pairs of packs a thread loads at once, of the KEPT that it has.
template <int VEC, int KEPT>
constexpr int PAIRS = KEPT > 8 ? 8 : VEC > 1 && KEPT > 4 ? 4 : KEPT;
