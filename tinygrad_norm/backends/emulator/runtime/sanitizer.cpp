// The functions that a kernel compiled with -fsanitize calls; they replace the sanitizers' own runtimes.
#include <cstdint>

#include "shadow.h"

namespace emulator {
namespace {

void access(void* address, size_t size, bool writes, void* pc) {
  Launch* launch = current;
  if (launch && launch->shadow) {
    launch->shadow->access(reinterpret_cast<uintptr_t>(address), size, writes,
                           reinterpret_cast<uintptr_t>(pc));
  }
}

// A struct whose alignment is smaller than its size: a GPU moves it in pieces too.
void access_range(void* address, size_t size, bool writes, void* pc) {
  auto first = static_cast<char*>(address);
  uintptr_t bits = reinterpret_cast<uintptr_t>(address) | size;
  size_t piece = bits & 1 ? 1 : bits & 2 ? 2 : 4;
  for (size_t i = 0; i < size; i += piece) access(first + i, piece, writes, pc);
}

// The compiler's layout of these structs.
struct Source {
  const char* file;
  uint32_t line, column;
};
struct Type {
  uint16_t kind, info;
  char name[1];
};
struct TypeMismatch {
  Source source;
  const Type* type;
  uint8_t log_alignment, access;
};
struct OutOfBounds {
  Source source;
  const Type *array, *index;
};

[[noreturn]] void report(Kind kind, const Source& source, const char* text) {
  Launch& launch = *current;
  Report& report = *launch.report;
  report.kind = kind;
  report.text = text;
  report.here = place_of(launch, launch.block.number, launch.running->number);
  report.here.file = source.file;
  report.here.line = int32_t(source.line);
  abandon(launch);
}

}  // namespace

extern "C" {

#define PC __builtin_return_address(0)

#define PLAIN_ACCESS(size)                                                                 \
  EMULATOR_API void __tsan_read##size(void* address) { access(address, size, false, PC); } \
  EMULATOR_API void __tsan_write##size(void* address) { access(address, size, true, PC); }
#define UNALIGNED_ACCESS(size)                                                                             \
  EMULATOR_API void __tsan_unaligned_read##size(void* address) { access_range(address, size, false, PC); } \
  EMULATOR_API void __tsan_unaligned_write##size(void* address) { access_range(address, size, true, PC); }
PLAIN_ACCESS(1)
PLAIN_ACCESS(2)
PLAIN_ACCESS(4)
PLAIN_ACCESS(8)
PLAIN_ACCESS(16)
UNALIGNED_ACCESS(2)
UNALIGNED_ACCESS(4)
UNALIGNED_ACCESS(8)
UNALIGNED_ACCESS(16)

EMULATOR_API void __tsan_read_range(void* address, size_t size) { access_range(address, size, false, PC); }
EMULATOR_API void __tsan_write_range(void* address, size_t size) { access_range(address, size, true, PC); }
EMULATOR_API void __tsan_func_entry(void*) {}
EMULATOR_API void __tsan_func_exit() {}
EMULATOR_API void __tsan_init() {}

EMULATOR_API void __ubsan_handle_type_mismatch_v1(TypeMismatch* data, uintptr_t address) {
  uintptr_t alignment = uintptr_t(1) << data->log_alignment;
  current->report->address = address;
  current->report->size = int64_t(alignment);
  report(address & (alignment - 1) ? kMisaligned : kFault, data->source, data->type->name);
}
EMULATOR_API void __ubsan_handle_out_of_bounds(OutOfBounds* data, uintptr_t index) {
  current->report->offset = int64_t(index);
  report(kOutOfBounds, data->source, data->array->name);
}

#define UNDEFINED(name, text) \
  EMULATOR_API void __ubsan_handle_##name(Source* source) { report(kUndefined, *source, text); }
UNDEFINED(add_overflow, "a signed addition that overflows")
UNDEFINED(sub_overflow, "a signed subtraction that overflows")
UNDEFINED(mul_overflow, "a signed multiplication that overflows")
UNDEFINED(negate_overflow, "a negation that overflows")
UNDEFINED(divrem_overflow, "an integer division by zero")
UNDEFINED(shift_out_of_bounds, "a shift by a negative or too large count")
}

}  // namespace emulator
