// What Python hands to the runtime for one launch, and what it gets back; launch.py mirrors it.
#pragma once
#include <stdint.h>

#include "vector_types.h"

namespace emulator {

struct Range {  // the bytes of one array argument
  uintptr_t begin, end;
  int32_t argument;
  int32_t read_only;
};

struct Variable {  // one static __shared__ variable, as an offset from the module's marker
  int64_t offset, size;
};

struct Config {
  void (*entry)(void** arguments);
  void** arguments;
  char* (*marker)();  // the calling thread's copy of the module's thread-local marker
  const Range* ranges;
  const Variable* variables;
  uint64_t (*traffic)[2];  // bytes read and written, for each argument; counted in checked mode
  uintptr_t image_begin, image_end;  // where the module's code and constants lie
  uint64_t dynamic_bytes;
  uint64_t seed;
  double timeout;
  uint32_t grid[3], block[3];
  uint32_t range_count, variable_count;
  int32_t checked;
  int32_t padding;
};

enum Kind : int32_t {
  kNone,
  kRace,
  kOutOfBounds,
  kMisaligned,
  kReadOnly,
  kUndefined,
  kDivergentBarrier,
  kDivergentWarp,
  kDeadlock,
  kExitedLane,
  kCallerNotInMask,
  kSourceNotInMask,
  kWidth,
  kFault,
  kStackOverflow,
  kTimeout,
  kTrap,
};

enum Space : int32_t { kNowhere, kGlobal, kStaticShared, kDynamicShared };

struct Place {  // a CUDA thread, and where in the source it was
  uint3 block, thread;
  const char* file;
  const char* what;  // the intrinsic it waits in
  uint64_t pc;       // relative to the image; 0 where `file` and `line` say it
  int32_t line;
  int32_t writes;
  uint32_t mask;
  int32_t known;
};

struct Report {
  Place here, other;
  const char* text;
  int64_t offset, size;  // the access, in bytes from the start of what it was meant for
  int64_t extent;        // and how large that is
  uint64_t address;
  Kind kind;
  Space space;
  int32_t index;  // which argument or which shared variable
  int32_t lane;
};

}  // namespace emulator
