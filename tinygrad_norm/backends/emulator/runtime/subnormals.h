// Flushing subnormal numbers to zero, as a GPU does in code compiled with -ftz=true.
#pragma once
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace emulator {

// While it lives, and if it is `on`, this thread reads subnormal numbers as zero (DAZ) and writes zero
// instead of them (FTZ). Fibers share these bits of MXCSR: a switch between them leaves MXCSR alone.
class SubnormalMode {
 public:
#if defined(__x86_64__)
  explicit SubnormalMode(bool on) : on_(on), before_(_mm_getcsr()) {
    if (on_) _mm_setcsr(before_ | kFlushToZero | kDenormalsAreZero);
  }
  ~SubnormalMode() {
    if (on_) _mm_setcsr(before_);
  }

 private:
  static constexpr unsigned kFlushToZero = 1u << 15, kDenormalsAreZero = 1u << 6;
  bool on_;
  unsigned before_;
#else
  explicit SubnormalMode(bool) {}  // Python does not ask for it here
#endif
  SubnormalMode(const SubnormalMode&) = delete;
};

}  // namespace emulator
