// Operations of the lanes of a warp: __syncwarp, votes and shuffles.
//
// Lanes wait for each other under their mask. The last lane to arrive computes the results of all lanes,
// so that a fast lane cannot overwrite a value that a slow lane has not read yet.
#include <cstring>

#include "scheduler.h"

namespace emulator {
namespace {

// The gathering in progress under a mask, or a new one. Lanes may wait under several masks at once.
Gathering& gathering_under(Warp& warp, unsigned mask, Operation operation) {
  for (unsigned m = warp.gathering; m; m &= m - 1) {
    Gathering& gathering = warp.gatherings[__builtin_ctz(m)];
    if (gathering.mask == mask) return gathering;
  }
  unsigned unused = unsigned(__builtin_ctz(~warp.gathering));
  warp.gathering |= 1u << unused;
  return warp.gatherings[unused] = {mask, 0, operation};
}

Thread& first_arrived(Launch& launch, const Warp& warp, const Gathering& gathering) {
  return launch.threads[warp.first + unsigned(__builtin_ctz(gathering.arrived))];
}

// The lane whose value the thread reads; the thread's own lane if CUDA defines that nothing is shuffled.
unsigned source_lane(const Thread& thread) {
  unsigned lane = thread.lane, width = unsigned(thread.width), base = lane & ~(width - 1);
  unsigned shift = unsigned(thread.source), source = lane;
  switch (Shuffle(thread.kind)) {
    case Shuffle::index: return base + (shift & (width - 1));
    case Shuffle::up: source = shift <= lane - base ? lane - shift : lane; break;
    case Shuffle::down: source = shift < width ? lane + shift : lane; break;
    case Shuffle::exclusive_or: source = lane ^ shift; break;
  }
  return source < base + width ? source : lane;
}

// Orders all earlier accesses of the lanes in the mask before all their later accesses.
void pass_warp_time(Warp& warp, unsigned mask) {
  uint32_t now = ++warp.time;
  if ((mask & warp.live) == warp.live) {
    warp.warp_time = now;
    return;
  }
  uint32_t joined[kWarpSize] = {};
  for (unsigned a = 0; a < kWarpSize; a++) {
    if (!(mask >> a & 1)) continue;
    for (unsigned b = 0; b < kWarpSize; b++) {
      if (warp.known[a][b] > joined[b]) joined[b] = warp.known[a][b];
    }
  }
  for (unsigned b = 0; b < kWarpSize; b++) {
    if (mask >> b & 1) joined[b] = now;
  }
  for (unsigned a = 0; a < kWarpSize; a++) {
    if (mask >> a & 1) memcpy(warp.known[a], joined, sizeof joined);
  }
}

void complete(Launch& launch, Warp& warp, const Gathering& gathering) {
  Thread* lanes = launch.threads + warp.first;
  unsigned arrived = gathering.arrived, ballot = 0;
  warp.gathering &= ~(1u << (&gathering - warp.gatherings));
  if (gathering.operation == Operation::barrier) {
    if (launch.shadow) pass_warp_time(warp, arrived);
  } else if (gathering.operation == Operation::vote) {
    for (unsigned m = arrived; m; m &= m - 1) {
      unsigned lane = unsigned(__builtin_ctz(m));
      if (lanes[lane].value) ballot |= 1u << lane;
    }
  }
  for (unsigned m = arrived; m; m &= m - 1) {
    Thread& thread = lanes[__builtin_ctz(m)];
    if (gathering.operation == Operation::shuffle) {
      unsigned source = source_lane(thread);
      if (!(arrived >> source & 1)) fail(launch, kSourceNotInMask, thread, nullptr, int(source));
      thread.result = lanes[source].value;
    } else if (gathering.operation == Operation::vote) {
      switch (Vote(thread.kind)) {
        case Vote::any: thread.result = ballot != 0; break;
        case Vote::all: thread.result = ballot == arrived; break;
        default: thread.result = ballot;
      }
    }
    make_ready(launch, thread);
  }
}

void gather(Launch& launch, Operation operation, const char* what, unsigned mask, const char* file,
            int line) {
  Thread& self = *launch.running;
  Warp& warp = *self.warp;
  wait_at(self, State::waits_for_warp, what, mask, file, line);
  if (!(mask >> self.lane & 1)) fail(launch, kCallerNotInMask, self);
  unsigned missing = mask & ~warp.live;
  if (missing && operation == Operation::shuffle) {
    fail(launch, kExitedLane, self, nullptr, __builtin_ctz(missing));
  }
  Gathering& gathering = gathering_under(warp, mask, operation);
  if (gathering.arrived) {
    const Thread& first = first_arrived(launch, warp, gathering);
    if (!wait_together(first, self)) fail(launch, kDivergentWarp, self, &first);
  }
  gathering.arrived |= 1u << self.lane;
  if ((gathering.arrived & warp.live) == (mask & warp.live)) {
    complete(launch, warp, gathering);
  } else {
    suspend(launch);
  }
}

}  // namespace

void leave_warp(Launch& launch, const Thread& self) {
  Warp& warp = *self.warp;
  warp.live &= ~(1u << self.lane);
  for (unsigned m = warp.gathering; m; m &= m - 1) {
    const Gathering& gathering = warp.gatherings[__builtin_ctz(m)];
    if (!(gathering.mask >> self.lane & 1)) continue;
    if (gathering.operation == Operation::shuffle) {
      fail(launch, kExitedLane, first_arrived(launch, warp, gathering), nullptr, self.lane);
    }
    if (gathering.arrived == (gathering.mask & warp.live)) complete(launch, warp, gathering);
  }
}

extern "C" {

void emulator_warp_barrier(unsigned mask, const char* file, int line) {
  gather(*current, Operation::barrier, "__syncwarp", mask, file, line);
}

unsigned emulator_warp_vote(const char* what, Vote vote, unsigned mask, int predicate, const char* file,
                            int line) {
  Launch& launch = *current;
  Thread& self = *launch.running;
  self.value = predicate != 0;
  self.kind = int(vote);
  gather(launch, Operation::vote, what, mask, file, line);
  return unsigned(self.result);
}

uint64_t emulator_shuffle(const char* what, Shuffle kind, unsigned mask, uint64_t value, int source,
                          int width, const char* file, int line) {
  Launch& launch = *current;
  Thread& self = *launch.running;
  self.value = value;
  self.source = source;
  self.width = width;
  self.kind = int(kind);
  if (width < 1 || width > int(kWarpSize) || (width & (width - 1))) {
    wait_at(self, State::running, what, mask, file, line);
    fail(launch, kWidth, self, nullptr, width);
  }
  gather(launch, Operation::shuffle, what, mask, file, line);
  return self.result;
}
}

}  // namespace emulator
