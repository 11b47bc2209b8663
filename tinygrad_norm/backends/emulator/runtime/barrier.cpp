// Operations of a whole block: __syncthreads and its votes.
#include "scheduler.h"

namespace emulator {
namespace {

void release_block(Launch& launch) {
  Block& block = launch.block;
  const Thread* first = nullptr;
  for (unsigned i = 0; i < launch.thread_count; i++) {
    Thread& thread = launch.threads[i];
    if (thread.state != State::waits_for_block) continue;
    if (!first) first = &thread;
    if (!wait_together(*first, thread)) fail(launch, kDivergentBarrier, *first, &thread);
    make_ready(launch, thread);
  }
  block.count = block.agreeing;
  block.everyone = block.agreeing == int(block.waiting);
  block.agreeing = 0;
  block.waiting = 0;
  if (!launch.shadow) return;
  for (unsigned w = 0; w < launch.warp_count; w++) {
    Warp& warp = launch.warps[w];
    warp.block_time = warp.warp_time = ++warp.time;
  }
}

}  // namespace

void leave_block(Launch& launch) {
  launch.block.alive--;
  if (launch.block.waiting && launch.block.waiting == launch.block.alive) release_block(launch);
}

extern "C" int emulator_block_barrier(const char* what, Vote vote, int predicate, const char* file,
                                      int line) {
  Launch& launch = *current;
  wait_at(*launch.running, State::waits_for_block, what, 0, file, line);
  launch.block.agreeing += predicate != 0;
  if (++launch.block.waiting == launch.block.alive) {
    release_block(launch);
  } else {
    suspend(launch);
  }
  switch (vote) {
    case Vote::any: return launch.block.count != 0;
    case Vote::all: return launch.block.everyone;
    default: return launch.block.count;
  }
}

}  // namespace emulator
