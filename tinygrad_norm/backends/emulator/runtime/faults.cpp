#include "faults.h"

#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <iterator>
#include <mutex>
#include <new>

#include "scheduler.h"
#include "shadow.h"

namespace emulator {
namespace {

constexpr int kSignals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
constexpr size_t kStackBytes = 64 * 1024;

std::mutex handlers;  // several OS threads may launch at once: the first installs, the last removes
int users = 0;
struct sigaction previous[std::size(kSignals)];

uintptr_t program_counter([[maybe_unused]] void* context) {
#if defined(__linux__) && defined(__x86_64__)
  return uintptr_t(static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP]);
#elif defined(__linux__) && defined(__aarch64__)
  return uintptr_t(static_cast<ucontext_t*>(context)->uc_mcontext.pc);
#else
  return 0;
#endif
}

void on_fault(int signal, siginfo_t* info, void* context) {
  Launch* launch = current;
  bool from_watchdog = info->si_code == SI_TIMER;
  if (launch && from_watchdog) launch->expired = true;
  if (!launch || !launch->in_kernel.load()) {
    if (from_watchdog) return;  // between two fibers: the scheduler checks `expired`
    for (size_t i = 0; i < std::size(kSignals); i++) {
      if (kSignals[i] == signal) sigaction(signal, &previous[i], nullptr);
    }
    return;  // and fault again, for the previous handler
  }
  Report& report = *launch->report;
  const Config& config = *launch->config;
  uintptr_t pc = program_counter(context), address = reinterpret_cast<uintptr_t>(info->si_addr);
  auto in_kernel = [&](uintptr_t code) { return code >= config.image_begin && code < config.image_end; };
  report.here = place_of(*launch, *launch->running);
  if (in_kernel(pc)) report.here.pc = pc - config.image_begin;
  uintptr_t last = launch->shadow ? launch->shadow->last_pc() : 0;
  if (in_kernel(last)) report.last_access = last - config.image_begin;
  report.address = address;
  if (from_watchdog) {
    report.kind = kTimeout;
  } else if (signal == SIGFPE) {
    report.kind = kUndefined;
    report.text = "an integer division by zero";
  } else {
    report.kind = launch->stacks.in_guard_page(address) ? kStackOverflow : kFault;
  }
  abandon(*launch);
}

}  // namespace

FaultHandler::FaultHandler() : memory_(new char[kStackBytes]) {
  stack_t stack = {};
  stack.ss_sp = memory_.get();
  stack.ss_size = kStackBytes;
  sigaltstack(&stack, &previous_);
  std::lock_guard<std::mutex> lock(handlers);
  if (users++ > 0) return;
  struct sigaction action = {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  for (size_t i = 0; i < std::size(kSignals); i++) sigaction(kSignals[i], &action, &previous[i]);
}

FaultHandler::~FaultHandler() {
  std::lock_guard<std::mutex> lock(handlers);
  if (--users == 0) {
    for (size_t i = 0; i < std::size(kSignals); i++) sigaction(kSignals[i], &previous[i], nullptr);
  }
  sigaltstack(&previous_, nullptr);
}

#ifdef __linux__

Watchdog::Watchdog(double seconds) {
  sigevent event = {};
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = kSignals[0];
  event._sigev_un._tid = pid_t(syscall(SYS_gettid));
  if (timer_create(CLOCK_MONOTONIC, &event, &timer_) != 0) throw std::bad_alloc();
  itimerspec when = {};
  when.it_value.tv_sec = time_t(seconds);
  when.it_value.tv_nsec = long((seconds - double(time_t(seconds))) * 1e9) | 1;  // 0 would disarm the timer
  when.it_interval.tv_nsec = 20'000'000;  // repeats until it interrupts a kernel
  timer_settime(timer_, 0, &when, nullptr);
}

Watchdog::~Watchdog() { timer_delete(timer_); }

#else

Watchdog::Watchdog(double) {}
Watchdog::~Watchdog() {}

#endif

}  // namespace emulator
