// Running statistics of C channels: mean ← kept·mean + gain·new_mean, var ← kept·var + gain_var·new_var.
//
// Owner         a thread has a channel.
// Traffic       reads four vectors (C,) once, writes two once: 6·C values.
// Accumulation  float; double for double. The new mean is Mean<T>, or `rounded_mean` in that type, as new_var.

template <class T>
__global__ void __launch_bounds__(256)
    move_statistics(T* __restrict__ mean, T* __restrict__ var, const Mean<T>* __restrict__ new_mean,
                    const Accumulator<T>* __restrict__ rounded_mean, const Accumulator<T>* __restrict__ new_var,
                    long long C, Accumulator<T> kept, Accumulator<T> gain, Accumulator<T> gain_var) {
  using A = Accumulator<T>;
  const long long c = (long long)blockIdx.x * 256 + threadIdx.x;
  if (c >= C) return;
  mean[c] = T(kept * A(mean[c]) + gain * (rounded_mean == nullptr ? A(new_mean[c]) : rounded_mean[c]));
  var[c] = T(kept * A(var[c]) + gain_var * new_var[c]);
}
