// The state of one launch: nothing of it outlives the launch, and every OS thread has its own.
#pragma once
#include <atomic>
#include <cstdint>

#include "../include/abi.h"
#include "../include/intrinsics.h"
#include "context.h"
#include "stacks.h"

namespace emulator {

constexpr unsigned kWarpSize = 32, kMostThreads = 1024, kMostWarps = kMostThreads / kWarpSize;
constexpr size_t kMostDynamicShared = 227 * 1024;

struct Shadow;
struct Warp;

enum class State : uint8_t { running, waits_for_block, waits_for_warp, done };

enum class Operation : uint8_t { barrier, vote, shuffle };

struct Thread {
  Context context;
  char* stack;
  Warp* warp;
  uint3 index;
  uint16_t number;  // in the block, x fastest
  uint8_t lane;
  State state;

  // Where it waits, or last waited, and with what.
  const char* file;
  const char* what;
  int line;
  unsigned mask;
  uint64_t value, result;
  int source, width, kind;
};

// The lanes that wait for each other in one warp intrinsic.
struct Gathering {
  unsigned mask, arrived;
  Operation operation;
};

struct Warp {
  unsigned first;  // number of its lane 0
  unsigned live;   // lanes that exist and have not returned
  unsigned ready;  // by position in `order`
  uint8_t order[kWarpSize], position[kWarpSize];
  unsigned gathering;  // which of these are in progress
  Gathering gatherings[kWarpSize];

  // For the race detector: time passes at barriers. What happened before `block_time` is ordered
  // before everyone, what happened before `warp_time` before this warp, and what lane b did before
  // known[a][b] before lane a.
  uint32_t time, block_time, warp_time;
  uint32_t known[kWarpSize][kWarpSize];
};

struct Block {
  uint3 index;
  uint32_t number;  // from 1; 0 means none
  unsigned alive, waiting;
  int agreeing;         // predicates that were true at the barrier being gathered
  int count, everyone;  // and at the last one that was passed
};

struct Launch {
  const Config* config;
  Report* report;
  Shadow* shadow;  // null in plain mode
  Thread* running;
  Block block;
  Context home;
  uint64_t random;
  unsigned thread_count, warp_count;
  bool failed;
  std::atomic<bool> in_kernel;  // a fiber runs: the watchdog may take it away
  std::atomic<bool> expired;
  Stacks stacks;
  Thread threads[kMostThreads];
  Warp warps[kMostWarps];
};

extern thread_local Launch* current;

}  // namespace emulator
