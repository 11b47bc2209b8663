// Runs the blocks of a grid one after the other, each CUDA thread as a fiber.
//
// A fiber runs until it waits. The next ready lane of its warp then takes over, and when none is
// left, another warp. With a seed, the order of blocks, of warps and of lanes is random.
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "faults.h"
#include "launch.h"
#include "shadow.h"

extern "C" {
// What `extern __shared__ unsigned char shared_memory[]` names in a kernel.
EMULATOR_API alignas(16384) thread_local unsigned char
    shared_memory[emulator::kMostDynamicShared + 1024];
}

namespace emulator {

thread_local Launch* current = nullptr;

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

[[noreturn]] void fail(Launch& launch, Kind kind, const Thread& here, const Thread* other = nullptr,
                       int lane = -1) {
  Report& report = *launch.report;
  report.kind = kind;
  report.here = place_of(launch, here);
  if (other) report.other = place_of(launch, *other);
  report.lane = lane;
  abandon(launch);
}

bool same_place(const char* file, int line, const char* what, const Thread& thread) {
  return line == thread.line && what == thread.what &&
         (file == thread.file || strcmp(file, thread.file) == 0);
}

void wait_at(Thread& self, State state, const char* what, unsigned mask, const char* file, int line) {
  self.state = state;
  self.what = what;
  self.mask = mask;
  self.file = file;
  self.line = line;
}

// ---- the block barrier

void release_block(Launch& launch) {
  Block& block = launch.block;
  const Thread* first = nullptr;
  for (unsigned i = 0; i < launch.thread_count; i++) {
    Thread& thread = launch.threads[i];
    if (thread.state != State::waits_for_block) continue;
    if (!first) first = &thread;
    if (!same_place(first->file, first->line, first->what, thread)) {
      fail(launch, kDivergentBarrier, *first, &thread);
    }
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

// ---- what a warp does together

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
  warp.gathering &= ~(1u << __builtin_ctz(gathering.mask));
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
  unsigned lowest = unsigned(__builtin_ctz(mask));
  Gathering& gathering = warp.gatherings[lowest];
  if (!(warp.gathering >> lowest & 1)) {
    warp.gathering |= 1u << lowest;
    gathering = {mask, 0, operation, what, file, line};
  } else if (gathering.mask != mask || !same_place(gathering.file, gathering.line, gathering.what, self)) {
    fail(launch, kDivergentWarp, self, &launch.threads[warp.first + __builtin_ctz(gathering.arrived)]);
  }
  gathering.arrived |= 1u << self.lane;
  if ((gathering.arrived & warp.live) == (mask & warp.live)) {
    complete(launch, warp, gathering);
  } else {
    suspend(launch);
  }
}

// ---- a fiber's life

void leave(Launch& launch) {
  Thread& self = *launch.running;
  Warp& warp = *self.warp;
  self.state = State::done;
  warp.live &= ~(1u << self.lane);
  launch.block.alive--;
  for (unsigned m = warp.gathering; m; m &= m - 1) {
    const Gathering& gathering = warp.gatherings[__builtin_ctz(m)];
    if (!(gathering.mask >> self.lane & 1)) continue;
    if (gathering.operation == Operation::shuffle) {
      Thread& waiting = launch.threads[warp.first + __builtin_ctz(gathering.arrived)];
      fail(launch, kExitedLane, waiting, nullptr, self.lane);
    }
    if (gathering.arrived == (gathering.mask & warp.live)) complete(launch, warp, gathering);
  }
  if (launch.block.waiting && launch.block.waiting == launch.block.alive) release_block(launch);
}

void fiber() {
  Launch& launch = *current;
  launch.in_kernel.store(true, std::memory_order_relaxed);
  launch.config->entry(launch.config->arguments);
  leave(launch);
  suspend(launch);
  __builtin_unreachable();
}

// ---- blocks

void begin_block(Launch& launch, uint64_t number) {
  const Config& config = *launch.config;
  const uint32_t *grid = config.grid, *size = config.block;
  launch.block = {};
  launch.block.number = uint32_t(number + 1);
  launch.block.index = {uint32_t(number % grid[0]), uint32_t(number / grid[0] % grid[1]),
                        uint32_t(number / grid[0] / grid[1])};
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
    thread.index = {i % size[0], i / size[0] % size[1], i / size[0] / size[1]};
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
    if (!same_place(here->file, here->line, here->what, thread) || here->mask != thread.mask) {
      other = &thread;
      break;
    }
  }
  report.kind = kDeadlock;
  report.here = place_of(launch, *here);
  if (other) report.other = place_of(launch, *other);
  launch.failed = true;
}

void check_guard(Launch& launch) {
  const unsigned char* guard = shared_memory + launch.config->dynamic_bytes;
  for (size_t i = 0; i < kGuardBytes; i++) {
    if (guard[i] == kGuard) continue;
    Report& report = *launch.report;
    report.kind = kOutOfBounds;
    report.space = kDynamicShared;
    report.offset = int64_t(launch.config->dynamic_bytes + i);
    report.extent = int64_t(launch.config->dynamic_bytes);
    report.size = 1;
    report.here = place_of(launch, launch.block.number, 0);
    report.here.known = 0;
    report.here.writes = 1;
    launch.failed = true;
    return;
  }
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
    thread.number = uint16_t(i);
    thread.lane = uint8_t(i % kWarpSize);
    thread.stack = launch.stacks.low(i);
  }
}

}  // namespace

void abandon(Launch& launch) {
  launch.failed = true;
  launch.in_kernel.store(false, std::memory_order_relaxed);
  switch_context(launch.running->context, launch.home);
  __builtin_unreachable();
}

Place place_of(const Launch& launch, uint32_t block_number, uint32_t thread_number) {
  const uint32_t *grid = launch.config->grid, *size = launch.config->block;
  uint32_t b = block_number - 1, t = thread_number;
  Place place = {};
  place.known = 1;
  place.block[0] = b % grid[0], place.block[1] = b / grid[0] % grid[1], place.block[2] = b / grid[0] / grid[1];
  place.thread[0] = t % size[0], place.thread[1] = t / size[0] % size[1],
  place.thread[2] = t / size[0] / size[1];
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

// ---- what kernels call

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

int emulator_block_barrier(const char* what, Vote vote, int predicate, const char* file, int line) {
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

void emulator_trap(const char* what, const char* file, int line) {
  Launch& launch = *current;
  wait_at(*launch.running, State::running, what, 0, file, line);
  fail(launch, kTrap, *launch.running);
}

// ---- what Python calls

// Runs one launch; `report->kind` says how it went. Returns 0 where there is no memory to run it.
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
}

}  // namespace emulator
