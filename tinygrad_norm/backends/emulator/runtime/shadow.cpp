#include "shadow.h"

#include <algorithm>
#include <utility>

namespace emulator {

Region::Region(uintptr_t begin, uintptr_t end, Space space, int index, bool read_only)
    : begin(begin), end(end), space(space), index(index), read_only(read_only) {
  void* memory =
      mmap(nullptr, bytes(shift_), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  cells_ = static_cast<Cell*>(memory);
}

Region::Region(Region&& other) noexcept
    : begin(other.begin), end(other.end), space(other.space), index(other.index),
      read_only(other.read_only), shift_(other.shift_), cells_(std::exchange(other.cells_, nullptr)) {}

Region::~Region() {
  if (cells_) munmap(cells_, bytes(shift_));
}

void Region::split(unsigned shift) {
  void* memory =
      mmap(nullptr, bytes(shift), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return;  // with coarser cells, the worst case is a false race
  auto finer = static_cast<Cell*>(memory);
  for (size_t i = 0; i < bytes(shift) / sizeof(Cell); i++) finer[i] = cells_[i >> (shift_ - shift)];
  munmap(cells_, bytes(shift_));
  cells_ = finer;
  shift_ = shift;
}

Shadow::Shadow(Launch& launch, unsigned char* dynamic_shared) : launch_(launch) {
  const Config& config = *launch.config;
  std::vector<Range> ranges(config.ranges, config.ranges + config.range_count);
  std::sort(ranges.begin(), ranges.end(),
            [](const Range& a, const Range& b) { return a.begin < b.begin; });
  for (size_t i = 0; i < ranges.size();) {  // arguments that share memory also share cells
    Range joined = ranges[i++];
    for (; i < ranges.size() && ranges[i].begin < joined.end; i++) {
      joined.end = std::max(joined.end, ranges[i].end);
      joined.read_only &= ranges[i].read_only;
    }
    regions_.emplace_back(joined.begin, joined.end, kGlobal, joined.argument, joined.read_only);
  }
  auto dynamic = reinterpret_cast<uintptr_t>(dynamic_shared);
  regions_.emplace_back(dynamic, dynamic + config.dynamic_bytes, kDynamicShared, 0, false);
  auto marker = reinterpret_cast<uintptr_t>(config.marker());
  for (uint32_t i = 0; i < config.variable_count; i++) {
    uintptr_t begin = marker + uintptr_t(config.variables[i].offset);
    regions_.emplace_back(begin, begin + uintptr_t(config.variables[i].size), kStaticShared, int(i), false);
  }
  last_ = &regions_.front();
}

void Shadow::access(uintptr_t address, size_t size, bool writes, uintptr_t pc) {
  Thread& self = *launch_.running;
  last_pc_ = pc;
  if (address - reinterpret_cast<uintptr_t>(self.stack) < Stacks::kBytes) return;
  Region* region = last_->contains(address) ? last_ : find(address, size, writes, pc);
  if (!region) return;
  last_ = region;
  if (address + size > region->end) report_invalid(kOutOfBounds, region, address, size, writes, pc);
  if ((size & (size - 1)) == 0 && (address & (size - 1))) {
    report_invalid(kMisaligned, region, address, size, writes, pc);
  }
  if (writes && region->read_only) report_invalid(kReadOnly, region, address, size, writes, pc);
  if (size < 4 && size < size_t(1) << region->shift()) region->split(size == 2 ? 1 : 0);
  if (region->space == kGlobal) launch_.config->traffic[region->index][writes] += size;

  Access access = {launch_.block.number, self.warp->time, uint32_t(pc - launch_.config->image_begin),
                   self.number};
  Cell* cell = region->cell(address);
  Cell* last = region->cell(address + size - 1);
  for (; cell <= last; cell++) {
    if (writes) {
      write(*cell, access, *region, address, size);
    } else {
      read(*cell, access, *region, address, size);
    }
  }
}

// The region that contains the address; null for memory that is not checked, such as a constant table.
Region* Shadow::find(uintptr_t address, size_t size, bool writes, uintptr_t pc) {
  for (Region& region : regions_) {
    if (region.contains(address)) return &region;
  }
  const Config& config = *launch_.config;
  if (address >= config.image_begin && address < config.image_end) return nullptr;
  constexpr uintptr_t near = 1 << 20;
  const Region* nearest = nullptr;
  uintptr_t best = near;
  for (const Region& region : regions_) {
    uintptr_t distance = address < region.begin ? region.begin - address : address - region.end;
    if (distance < best) best = distance, nearest = &region;
  }
  report_invalid(kOutOfBounds, nearest, address, size, writes, pc);
}

bool Shadow::stale(const Access& earlier, const Region& region) const {
  return earlier.block == 0 || (region.space != kGlobal && earlier.block != launch_.block.number);
}

// Whether an earlier access, by `lane`, is ordered before the running thread.
bool Shadow::ordered(const Access& earlier, unsigned lane) const {
  const Thread& self = *launch_.running;
  if (earlier.block != launch_.block.number) return false;
  const Warp& warp = launch_.warps[earlier.thread / kWarpSize];
  if (earlier.time < warp.block_time) return true;
  if (&warp != self.warp) return false;
  return lane == self.lane || earlier.time < warp.warp_time || earlier.time < warp.known[self.lane][lane];
}

bool Shadow::ordered(const Readers& readers, const Thread& self) const {
  bool own_warp = readers.access.thread / kWarpSize == self.number / kWarpSize;
  if (readers.access.block == launch_.block.number && own_warp &&
      !(readers.lanes & ~(1u << self.lane))) {
    return true;
  }
  for (uint32_t lanes = readers.lanes; lanes; lanes &= lanes - 1) {
    if (!ordered(readers.access, unsigned(__builtin_ctz(lanes)))) return false;
  }
  return true;
}

void Shadow::read(Cell& cell, const Access& access, Region& region, uintptr_t address, size_t size) {
  const Thread& self = *launch_.running;
  uint32_t bit = 1u << self.lane;
  if (!stale(cell.write, region) && !ordered(cell.write, cell.write.thread % kWarpSize)) {
    race(access, cell.write, false, true, region, address, size);
  }
  Readers* free = nullptr;
  for (Readers& readers : cell.readers) {
    if (stale(readers.access, region) || ordered(readers, self)) {
      readers.access.block = 0;
      if (!free) free = &readers;
    } else if (readers.access.block == access.block &&
               readers.access.thread / kWarpSize == access.thread / kWarpSize) {
      readers.lanes |= bit;
      return;
    }
  }
  if (free) *free = {access, bit};
}

void Shadow::write(Cell& cell, const Access& access, Region& region, uintptr_t address, size_t size) {
  if (!stale(cell.write, region) && !ordered(cell.write, cell.write.thread % kWarpSize)) {
    race(access, cell.write, true, true, region, address, size);
  }
  for (Readers& readers : cell.readers) {
    if (stale(readers.access, region) || ordered(readers, *launch_.running)) continue;
    Access reader = readers.access;
    if (reader.block == access.block && reader.thread == access.thread) {
      uint32_t others = readers.lanes & ~(1u << access.thread % kWarpSize);
      reader.thread = uint16_t(reader.thread / kWarpSize * kWarpSize + unsigned(__builtin_ctz(others)));
    }
    race(access, reader, true, false, region, address, size);
  }
  cell = {access, {}};
}

namespace {

void describe(Report& report, const Region& region, uintptr_t address, size_t size) {
  report.space = region.space;
  report.index = region.index;
  report.offset = int64_t(address - region.begin);
  report.size = int64_t(size);
  report.extent = int64_t(region.end - region.begin);
}

}  // namespace

void Shadow::race(const Access& here, const Access& earlier, bool writes, bool earlier_writes,
                  const Region& region, uintptr_t address, size_t size) {
  Report& report = *launch_.report;
  report.kind = kRace;
  describe(report, region, address, size);
  report.here = place_of(launch_, here.block, here.thread);
  report.here.pc = here.site;
  report.here.writes = writes;
  report.other = place_of(launch_, earlier.block, earlier.thread);
  report.other.pc = earlier.site;
  report.other.writes = earlier_writes;
  abandon(launch_);
}

void Shadow::report_invalid(Kind kind, const Region* region, uintptr_t address, size_t size,
                            bool writes, uintptr_t pc) {
  Report& report = *launch_.report;
  report.kind = kind;
  report.size = int64_t(size);
  if (region) describe(report, *region, address, size);
  report.address = address;
  report.here = place_of(launch_, launch_.block.number, launch_.running->number);
  report.here.pc = pc - launch_.config->image_begin;
  report.here.writes = writes;
  abandon(launch_);
}

}  // namespace emulator
