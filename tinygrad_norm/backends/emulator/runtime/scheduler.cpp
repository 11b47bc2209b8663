#include "scheduler.h"

#include <cstring>

namespace emulator {

thread_local Launch* current = nullptr;

Thread& take_ready(Launch& launch, Warp& warp) {
  unsigned position = unsigned(__builtin_ctz(warp.ready));
  warp.ready &= warp.ready - 1;
  return launch.threads[warp.first + warp.order[position]];
}

void make_ready(Launch& launch, Thread& thread) {
  thread.state = State::running;
  if (&thread != launch.running) thread.warp->ready |= 1u << thread.warp->position[thread.lane];
}

void suspend(Launch& launch) {
  Thread& self = *launch.running;
  if (self.warp->ready) {
    launch.running = &take_ready(launch, *self.warp);
    switch_context(self.context, launch.running->context);
  } else {
    launch.in_kernel.store(false, std::memory_order_relaxed);
    switch_context(self.context, launch.home);
  }
  launch.in_kernel.store(true, std::memory_order_relaxed);
}

void wait_at(Thread& self, State state, const char* what, unsigned mask, const char* file, int line) {
  self.state = state;
  self.what = what;
  self.mask = mask;
  self.file = file;
  self.line = line;
}

bool wait_together(const Thread& a, const Thread& b) {
  return a.line == b.line && a.what == b.what && a.mask == b.mask &&
         (a.file == b.file || strcmp(a.file, b.file) == 0);
}

void abandon(Launch& launch) {
  launch.failed = true;
  launch.in_kernel.store(false, std::memory_order_relaxed);
  switch_context(launch.running->context, launch.home);
  __builtin_unreachable();
}

uint3 index_in(const uint32_t (&shape)[3], uint64_t number) {
  return {uint32_t(number % shape[0]), uint32_t(number / shape[0] % shape[1]),
          uint32_t(number / shape[0] / shape[1])};
}

Place place_of(const Launch& launch, uint32_t block_number, uint32_t thread_number) {
  Place place = {};
  place.known = 1;
  place.block = index_in(launch.config->grid, block_number - 1);
  place.thread = index_in(launch.config->block, thread_number);
  return place;
}

Place place_of(const Launch& launch, const Thread& thread) {
  Place place = place_of(launch, launch.block.number, thread.number);
  place.what = thread.what;
  if (thread.what) {
    place.file = thread.file;
    place.line = thread.line;
    place.mask = thread.mask;
  }
  return place;
}

void fail(Launch& launch, Kind kind, const Thread& here, const Thread* other, int lane) {
  Report& report = *launch.report;
  report.kind = kind;
  report.here = place_of(launch, here);
  if (other) report.other = place_of(launch, *other);
  report.lane = lane;
  abandon(launch);
}

}  // namespace emulator
