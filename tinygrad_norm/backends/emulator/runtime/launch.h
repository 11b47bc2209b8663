// The state of one launch. Every OS thread has its own; nothing in it is used after the launch.
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

  // Where the thread waits, or last waited, and with which values.
  const char* file;
  const char* what;
  int line;
  unsigned mask;
  uint64_t value, result;
  int source, width, kind;
};

// Lanes that wait for each other in one warp intrinsic.
struct Gathering {
  unsigned mask, arrived;
  Operation operation;
};

struct Warp {
  unsigned first;  // the number of its lane 0
  unsigned live;   // lanes that exist and have not returned
  unsigned ready;  // by position in `order`
  uint8_t order[kWarpSize], position[kWarpSize];
  unsigned gathering;  // a bit for each of these that is in progress
  Gathering gatherings[kWarpSize];

  // For the race detector: time advances at barriers. Accesses before `block_time` are ordered before all
  // threads of the block, accesses before `warp_time` before this warp, and accesses of lane b before
  // known[a][b] before lane a.
  uint32_t time, block_time, warp_time;
  uint32_t known[kWarpSize][kWarpSize];
};

struct Block {
  uint3 index;
  uint32_t number;  // from 1; 0 means none
  unsigned alive, waiting;
  int agreeing;         // how many predicates are true so far at the current barrier
  int count, everyone;  // the result of the last barrier
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
  std::atomic<bool> in_kernel;  // a fiber runs: the watchdog may interrupt it
  std::atomic<bool> expired;
  Stacks stacks;
  Thread threads[kMostThreads];
  Warp warps[kMostWarps];
};

extern thread_local Launch* current;

}  // namespace emulator
