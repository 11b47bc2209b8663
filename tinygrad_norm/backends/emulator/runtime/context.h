// Switches between fibers: twenty instructions on x86-64, ucontext elsewhere.
#pragma once
#include <cstdint>

namespace emulator {

#if defined(__x86_64__) && defined(__ELF__) && !defined(EMULATOR_UCONTEXT)

// Pushes the registers that a function must preserve and stores the stack pointer; then loads another
// stack pointer and pops its registers.
extern "C" void emulator_switch_stack(void** save, void* load);

struct Context {
  void* stack_pointer;

  void prepare(char* stack_top, void (*entry)()) {
    auto slot = reinterpret_cast<void**>(reinterpret_cast<uintptr_t>(stack_top) & ~uintptr_t(15));
    *--slot = nullptr;  // the return address of entry, which never returns
    *--slot = reinterpret_cast<void*>(entry);
    for (int i = 0; i < 6; i++) *--slot = nullptr;
    stack_pointer = slot;
  }
};

inline void switch_context(Context& from, Context& to) {
  emulator_switch_stack(&from.stack_pointer, to.stack_pointer);
}

#else
}  // namespace emulator
#include <ucontext.h>
namespace emulator {

struct Context {
  ucontext_t context;

  void prepare(char* stack_top, void (*entry)()) {
    constexpr uintptr_t enough = 16 * 1024;  // makecontext needs a size; only the top is used
    getcontext(&context);
    context.uc_stack.ss_sp = stack_top - enough;
    context.uc_stack.ss_size = enough;
    context.uc_link = nullptr;
    makecontext(&context, entry, 0);
  }
};

inline void switch_context(Context& from, Context& to) { swapcontext(&from.context, &to.context); }

#endif

}  // namespace emulator
