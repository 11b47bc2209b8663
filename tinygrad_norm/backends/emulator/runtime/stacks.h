// The stacks of the fibers: each OS thread keeps its own, and every stack has a guard page below it.
#pragma once
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <new>

namespace emulator {

class Stacks {
 public:
  static constexpr size_t kBytes = 64 * 1024;

  ~Stacks() {
    if (base_) munmap(base_, kMost * stride());
  }

  // Makes `count` stacks usable.
  void reserve(size_t count) {
    if (!base_) {
      void* memory = mmap(nullptr, kMost * stride(), PROT_NONE, MAP_PRIVATE | MAP_ANON, -1, 0);
      if (memory == MAP_FAILED) throw std::bad_alloc();
      base_ = static_cast<char*>(memory);
    }
    for (; count_ < count; count_++) {
      if (mprotect(low(count_), kBytes, PROT_READ | PROT_WRITE) != 0) throw std::bad_alloc();
    }
  }

  char* low(size_t i) const { return base_ + i * stride() + page(); }
  // Staggered: otherwise the tops of all stacks would compete for the same few cache sets.
  char* top(size_t i) const { return low(i) + kBytes - i % 32 * 128; }

  bool in_guard_page(uintptr_t address) const {
    uintptr_t offset = address - reinterpret_cast<uintptr_t>(base_);
    return base_ && offset < kMost * stride() && offset % stride() < page();
  }

 private:
  static constexpr size_t kMost = 1024;
  static size_t page() {
    static const size_t bytes = size_t(sysconf(_SC_PAGESIZE));
    return bytes;
  }
  static size_t stride() { return kBytes + page(); }

  char* base_ = nullptr;
  size_t count_ = 0;
};

}  // namespace emulator
