// Checked mode's record of accesses: one cell for every word of every array that a kernel can reach.
//
// An access races with an earlier access to the same cell if one of the two writes and no barrier orders
// them. Blocks are never ordered, whatever order they run in, so a report does not depend on the schedule.
// A cell covers 4 bytes, until a smaller access splits the cells of its array.
// Every reported race is one. A race can be missed only if lanes of a warp read one word and then
// synchronize under several different masks.
#pragma once
#include <memory>
#include <vector>

#include "scheduler.h"

namespace emulator {

struct Access {
  uint32_t block;  // 0: none
  uint32_t time;   // of the thread's warp
  uint32_t site;   // in the module's code
  uint16_t thread;
};

struct Readers {  // lanes of one warp; `access` is the earliest
  Access access;
  uint32_t lanes;
};

struct Cell {
  Access write;
  Readers readers[2];  // of two different warps: a write that conflicts with a third conflicts with one of these
};

class Region {
 public:
  Region(uintptr_t begin, uintptr_t end, Space space, int index, bool read_only);
  Region(const Region&) = delete;
  Region(Region&&) noexcept;
  ~Region();

  bool contains(uintptr_t address) const { return address - begin < end - begin; }
  Cell* cell(uintptr_t address) { return cells_ + ((address - aligned_begin()) >> shift_); }
  unsigned shift() const { return shift_; }
  void split(unsigned shift);

  uintptr_t begin, end;
  Space space;
  int index;  // of the first argument, or of the shared variable, in this region
  bool read_only;

 private:
  uintptr_t aligned_begin() const { return begin & ~uintptr_t(3); }
  size_t bytes(unsigned shift) const { return (((end - aligned_begin()) >> shift) + 1) * sizeof(Cell); }

  unsigned shift_ = 2;
  Cell* cells_;
};

struct Shadow {
  Shadow(Launch& launch, unsigned char* dynamic_shared);

  void access(uintptr_t address, size_t size, bool writes, uintptr_t pc);
  uintptr_t last_pc() const { return last_pc_; }

 private:
  Region* find(uintptr_t address, size_t size, bool writes, uintptr_t pc);
  void read(Cell& cell, const Access& access, Region& region, uintptr_t address, size_t size);
  void write(Cell& cell, const Access& access, Region& region, uintptr_t address, size_t size);
  bool ordered(const Access& earlier, unsigned lane) const;
  bool ordered(const Readers& readers, const Thread& self) const;
  bool stale(const Access& earlier, const Region& region) const;
  [[noreturn]] void race(const Access& here, const Access& earlier, bool writes, bool earlier_writes,
                         const Region& region, uintptr_t address, size_t size);
  [[noreturn]] void report_invalid(Kind kind, const Region* region, uintptr_t address, size_t size,
                                   bool writes, uintptr_t pc);

  Launch& launch_;
  std::vector<Region> regions_;
  Region* last_;
  uintptr_t last_pc_ = 0;
};

}  // namespace emulator
