// Chooses the next fiber to run. A fiber runs until it waits. Then the next ready lane of its warp runs; if
// there is none, control returns to the launch, which chooses another warp.
#pragma once
#include "launch.h"

namespace emulator {

Thread& take_ready(Launch& launch, Warp& warp);
void make_ready(Launch& launch, Thread& thread);
void suspend(Launch& launch);

// Records where and in which intrinsic a thread waits.
void wait_at(Thread& self, State state, const char* what, unsigned mask, const char* file, int line);
bool wait_together(const Thread& a, const Thread& b);

// Ends the launch from inside a fiber; the report has the reason.
[[noreturn]] void abandon(Launch& launch);
[[noreturn]] void fail(Launch& launch, Kind kind, const Thread& here, const Thread* other = nullptr,
                       int lane = -1);

// The coordinates of a block in its grid, or of a thread in its block.
uint3 index_in(const uint32_t (&shape)[3], uint64_t number);

Place place_of(const Launch& launch, const Thread& thread);
Place place_of(const Launch& launch, uint32_t block_number, uint32_t thread_number);

// After this, the thread no longer counts at barriers and in masks.
void leave_warp(Launch& launch, const Thread& self);
void leave_block(Launch& launch);

}  // namespace emulator
