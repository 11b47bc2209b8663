// The functions of the runtime that the shim's intrinsics call. A thread's indices never change, so the
// compiler may keep them: `const`.
#pragma once
#include <stdint.h>

#include "vector_types.h"

#define EMULATOR_API __attribute__((visibility("default")))

namespace emulator {

enum class Shuffle : int { index, up, down, exclusive_or };
enum class Vote : int { any, all, count, ballot };

extern "C" {
EMULATOR_API uint3 emulator_thread_index() __attribute__((const));
EMULATOR_API uint3 emulator_block_index() __attribute__((const));
EMULATOR_API uint3 emulator_block_size() __attribute__((const));
EMULATOR_API uint3 emulator_grid_size() __attribute__((const));
EMULATOR_API int emulator_block_barrier(const char* what, Vote vote, int predicate, const char* file,
                                        int line);
EMULATOR_API void emulator_warp_barrier(unsigned mask, const char* file, int line);
EMULATOR_API unsigned emulator_warp_vote(const char* what, Vote vote, unsigned mask, int predicate,
                                         const char* file, int line);
EMULATOR_API uint64_t emulator_shuffle(const char* what, Shuffle kind, unsigned mask, uint64_t value,
                                       int source, int width, const char* file, int line);
[[noreturn]] EMULATOR_API void emulator_trap(const char* what, const char* file, int line);
}

}  // namespace emulator
