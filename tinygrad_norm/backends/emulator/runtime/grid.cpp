// Runs a launch: one block after the other, and every CUDA thread of a block as a fiber. With a seed, the
// order of blocks, warps and lanes is random.
#include <cstring>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "faults.h"
#include "scheduler.h"
#include "shadow.h"
#include "subnormals.h"

extern "C" {
// The memory that a kernel declares as `extern __shared__ unsigned char shared_memory[]`.
alignas(16384) EMULATOR_API thread_local unsigned char shared_memory[emulator::kMostDynamicShared + 1024];
}

namespace emulator {
namespace {

constexpr int kPoison = 0xff;  // NaN in every floating-point format
constexpr int kGuard = 0xfb;
constexpr size_t kGuardBytes = 1024;

uint64_t random_below(Launch& launch, uint64_t bound) {
  launch.random ^= launch.random << 13;
  launch.random ^= launch.random >> 7;
  launch.random ^= launch.random << 17;
  return (launch.random >> 11) % bound;
}

template <class T>
void permute(Launch& launch, T* items, size_t count) {
  for (size_t i = count; i > 1; i--) std::swap(items[i - 1], items[random_below(launch, i)]);
}

void fiber() {
  Launch& launch = *current;
  launch.in_kernel.store(true, std::memory_order_relaxed);
  launch.config->entry(launch.config->arguments);
  launch.running->state = State::done;
  leave_warp(launch, *launch.running);
  leave_block(launch);
  suspend(launch);
  __builtin_unreachable();
}

void begin_block(Launch& launch, uint64_t number) {
  const Config& config = *launch.config;
  launch.block = {};
  launch.block.number = uint32_t(number + 1);
  launch.block.index = index_in(config.grid, number);
  launch.block.alive = launch.thread_count;
  launch.running = nullptr;
  memset(shared_memory, kPoison, config.dynamic_bytes);
  memset(shared_memory + config.dynamic_bytes, kGuard, kGuardBytes);
  char* marker = config.marker();
  for (uint32_t i = 0; i < config.variable_count; i++) {
    memset(marker + config.variables[i].offset, kPoison, size_t(config.variables[i].size));
  }
  for (unsigned w = 0; w < launch.warp_count; w++) {
    Warp& warp = launch.warps[w];
    unsigned count = launch.thread_count - warp.first;
    warp.live = warp.ready = count < kWarpSize ? (1u << count) - 1 : ~0u;
    warp.block_time = warp.warp_time = ++warp.time;
    if (config.seed) permute(launch, warp.order, count < kWarpSize ? count : kWarpSize);
    for (unsigned i = 0; i < kWarpSize; i++) warp.position[warp.order[i]] = uint8_t(i);
  }
  for (unsigned i = 0; i < launch.thread_count; i++) {
    Thread& thread = launch.threads[i];
    thread.state = State::running;
    thread.what = nullptr;
    thread.context.prepare(launch.stacks.top(i), fiber);
  }
}

void report_deadlock(Launch& launch) {
  Report& report = *launch.report;
  const Thread *here = nullptr, *other = nullptr;
  for (unsigned i = 0; i < launch.thread_count; i++) {
    const Thread& thread = launch.threads[i];
    if (thread.state == State::done) continue;
    if (!here) here = &thread;
    if (!wait_together(*here, thread)) {
      other = &thread;
      break;
    }
  }
  report.kind = kDeadlock;
  report.here = place_of(launch, *here);
  if (other) report.other = place_of(launch, *other);
  launch.failed = true;
}

// Detects a write just past the requested dynamic shared memory, also in plain mode.
void check_guard(Launch& launch) {
  const unsigned char* guard = shared_memory + launch.config->dynamic_bytes;
  if (guard[0] == kGuard && memcmp(guard, guard + 1, kGuardBytes - 1) == 0) return;
  size_t first = 0;
  while (guard[first] == kGuard) first++;
  Report& report = *launch.report;
  report.kind = kOutOfBounds;
  report.space = kDynamicShared;
  report.offset = int64_t(launch.config->dynamic_bytes + first);
  report.extent = int64_t(launch.config->dynamic_bytes);
  report.size = 1;
  report.here = place_of(launch, launch.block.number, 0);
  report.here.known = 0;  // the block is known, the thread is not
  report.here.writes = 1;
  launch.failed = true;
}

void run_block(Launch& launch, uint64_t number) {
  begin_block(launch, number);
  uint8_t order[kMostWarps];
  for (unsigned w = 0; w < launch.warp_count; w++) order[w] = uint8_t(w);
  while (launch.block.alive && !launch.failed) {
    bool progress = false;
    if (launch.config->seed) permute(launch, order, launch.warp_count);
    for (unsigned w = 0; w < launch.warp_count && !launch.failed; w++) {
      Warp& warp = launch.warps[order[w]];
      if (!warp.ready) continue;
      progress = true;
      launch.running = &take_ready(launch, warp);
      switch_context(launch.home, launch.running->context);
    }
    if (launch.failed) return;
    if (!progress) return report_deadlock(launch);
    if (launch.expired.load(std::memory_order_relaxed)) {
      launch.report->kind = kTimeout;
      launch.report->here = place_of(launch, *launch.running);
      launch.failed = true;
      return;
    }
  }
  if (!launch.failed) check_guard(launch);
}

void run_grid(Launch& launch) {
  const Config& config = *launch.config;
  uint64_t count = uint64_t(config.grid[0]) * config.grid[1] * config.grid[2];
  if (!config.seed) {
    for (uint64_t i = 0; i < count && !launch.failed; i++) run_block(launch, i);
    return;
  }
  std::vector<uint32_t> order(count);
  for (uint64_t i = 0; i < count; i++) order[i] = uint32_t(i);
  permute(launch, order.data(), count);
  for (uint64_t i = 0; i < count && !launch.failed; i++) run_block(launch, order[i]);
}

void prepare(Launch& launch, const Config& config, Report& report) {
  launch.config = &config;
  launch.report = &report;
  launch.failed = false;
  launch.in_kernel = false;
  launch.expired = false;
  launch.random = config.seed * 0x9e3779b97f4a7c15u | 1;
  launch.thread_count = config.block[0] * config.block[1] * config.block[2];
  launch.warp_count = (launch.thread_count + kWarpSize - 1) / kWarpSize;
  launch.stacks.reserve(launch.thread_count);
  for (unsigned w = 0; w < launch.warp_count; w++) {
    Warp& warp = launch.warps[w];
    warp.first = w * kWarpSize;
    warp.time = 0;
    if (config.checked) memset(warp.known, 0, sizeof warp.known);
    warp.gathering = 0;
    for (unsigned i = 0; i < kWarpSize; i++) warp.order[i] = uint8_t(i);
  }
  for (unsigned i = 0; i < launch.thread_count; i++) {
    Thread& thread = launch.threads[i];
    thread.warp = &launch.warps[i / kWarpSize];
    thread.index = index_in(config.block, i);
    thread.number = uint16_t(i);
    thread.lane = uint8_t(i % kWarpSize);
    thread.stack = launch.stacks.low(i);
  }
}

}  // namespace

extern "C" {

uint3 emulator_thread_index() { return current->running->index; }
uint3 emulator_block_index() { return current->block.index; }
uint3 emulator_block_size() {
  const uint32_t* size = current->config->block;
  return {size[0], size[1], size[2]};
}
uint3 emulator_grid_size() {
  const uint32_t* size = current->config->grid;
  return {size[0], size[1], size[2]};
}

void emulator_trap(const char* what, const char* file, int line) {
  Launch& launch = *current;
  wait_at(*launch.running, State::running, what, 0, file, line);
  fail(launch, kTrap, *launch.running);
}

// Runs one launch; `report->kind` says how it ended. Returns 0 if there is not enough memory.
EMULATOR_API int emulator_launch(const Config* config, Report* report) {
  static thread_local std::unique_ptr<Launch> machine;
  *report = {};
  try {
    if (!machine) machine = std::make_unique<Launch>();
    prepare(*machine, *config, *report);
    std::unique_ptr<Shadow> shadow;
    if (config->checked) shadow = std::make_unique<Shadow>(*machine, shared_memory);
    machine->shadow = shadow.get();
    current = machine.get();
    FaultHandler faults;
    Watchdog watchdog(config->timeout);
    SubnormalMode subnormals(config->flush_to_zero);
    run_grid(*machine);
  } catch (const std::bad_alloc&) {
    current = nullptr;
    return 0;
  }
  current = nullptr;
  return 1;
}

EMULATOR_API uint64_t emulator_abi() {
  return sizeof(Config) << 32 | sizeof(Report) << 16 | sizeof(Range);
}

}  // extern "C"

}  // namespace emulator
