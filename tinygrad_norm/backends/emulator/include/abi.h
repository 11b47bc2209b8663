// What Python passes to the runtime for one launch, and what the runtime reports; runner.py mirrors it.
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
  uint64_t (*traffic)[2];  // bytes read and written, per argument; counted in checked mode
  uintptr_t image_begin, image_end;  // the module's code and constants
  uint64_t dynamic_bytes;
  uint64_t seed;
  double timeout;
  uint32_t grid[3], block[3];
  uint32_t range_count, variable_count;
  int32_t checked;
  int32_t flush_to_zero;  // x86 only
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

struct Place {  // a CUDA thread and its place in the source
  uint3 block, thread;
  const char* file;
  const char* what;  // the intrinsic it waits in
  uint64_t pc;       // relative to the image; 0 if `file` and `line` are set
  int32_t line;
  int32_t writes;
  uint32_t mask;
  int32_t known;
};

struct Report {
  Place here, other;
  const char* text;
  int64_t offset, size;  // of the access, in bytes from the start of its array or variable
  int64_t extent;        // the size of that array or variable
  uint64_t address;
  uint64_t last_access;  // the code of the last checked access, relative to the image; 0 if there is none
  Kind kind;
  Space space;
  int32_t index;  // of the argument or the shared variable
  int32_t lane;
};

}  // namespace emulator
