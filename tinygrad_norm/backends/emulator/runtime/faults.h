// Stops a kernel that faults or does not end, without ending the process.
#pragma once
#include <signal.h>
#include <time.h>

#include <memory>

#include "launch.h"

namespace emulator {

// While a FaultHandler exists, a fault inside a kernel ends the launch, not the process.
class FaultHandler {
 public:
  FaultHandler();
  ~FaultHandler();

 private:
  std::unique_ptr<char[]> memory_;
  stack_t previous_;
};

// Interrupts the calling thread's launch if it takes longer than `seconds` (only on Linux).
class Watchdog {
 public:
  explicit Watchdog(double seconds);
  ~Watchdog();

 private:
#ifdef __linux__
  timer_t timer_;
#endif
};

}  // namespace emulator
