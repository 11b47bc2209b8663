// What a module exports for each kernel: a function that calls it, and its parameters.
//
// The compiler deduces a kernel's signature from the function itself, so that a launch can check every
// argument against it.
#pragma once

namespace emulator {

struct Parameter {
  const char* dtype;  // NumPy's name for the value, or for the pointee; "" for void
  int32_t alignment;  // of the value, or of the pointee
  int32_t size;
  int32_t pointer;
  int32_t constant;
};

struct Entry {
  void (*call)(void** arguments);
  const Parameter* parameters;
  int32_t count;
};

template <class T>
constexpr const char* dtype_name() {
  if constexpr (std::is_void_v<T>) return "";
  else if constexpr (std::is_same_v<T, bool>) return "bool";
  else if constexpr (std::is_same_v<T, float>) return "float32";
  else if constexpr (std::is_same_v<T, double>) return "float64";
  else if constexpr (std::is_integral_v<T>) {
    constexpr bool is_signed = std::is_signed_v<T>;
    if constexpr (sizeof(T) == 1) return is_signed ? "int8" : "uint8";
    else if constexpr (sizeof(T) == 2) return is_signed ? "int16" : "uint16";
    else if constexpr (sizeof(T) == 4) return is_signed ? "int32" : "uint32";
    else return is_signed ? "int64" : "uint64";
  } else return T::emulator_dtype;
}

template <class T, class = void>
struct Scalar {
  using type = T;
};
template <class T>  // float4 is four floats, half2 two halves
struct Scalar<T, std::void_t<decltype(std::declval<T>().x)>> {
  using type = decltype(std::declval<T>().x);
};

template <class T>
constexpr Parameter describe() {
  using Pointee = std::remove_pointer_t<T>;
  using Value = std::remove_cv_t<Pointee>;
  const char* dtype = dtype_name<typename Scalar<Value>::type>();
  if constexpr (std::is_void_v<Value>) return {dtype, 1, 1, 1, std::is_const_v<Pointee>};
  else
    return {dtype, int32_t(alignof(Value)), int32_t(sizeof(Value)), std::is_pointer_v<T>,
            std::is_const_v<Pointee>};
}

template <auto kernel>
struct EntryOf;
template <class... P, void (*kernel)(P...)>
struct EntryOf<kernel> {
  static constexpr Parameter parameters[sizeof...(P) + 1] = {describe<P>()..., {}};

  template <size_t... I>
  static __attribute__((no_sanitize("thread", "undefined"))) void unpack(void** arguments,
                                                                         std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_cv_t<P>*>(arguments[I])...);
  }
  static __attribute__((no_sanitize("thread", "undefined"))) void call(void** arguments) {
    unpack(arguments, std::index_sequence_for<P...>{});
  }
  static constexpr Entry entry = {call, parameters, sizeof...(P)};
};

}  // namespace emulator

#define EMULATOR_EXPORT_KERNEL(symbol, ...)             \
  extern "C" EMULATOR_API const emulator::Entry* symbol() { \
    return &emulator::EntryOf<&__VA_ARGS__>::entry;     \
  }

#define EMULATOR_EXPORT_MODULE                                                            \
  extern "C" __attribute__((visibility("hidden"))) char __ehdr_start[], _end[];           \
  static thread_local char emulator_marker;                                               \
  extern "C" EMULATOR_API char* emulator_module_marker() { return &emulator_marker; }     \
  extern "C" EMULATOR_API char* emulator_module_begin() { return __ehdr_start; }          \
  extern "C" EMULATOR_API char* emulator_module_end() { return _end; }
