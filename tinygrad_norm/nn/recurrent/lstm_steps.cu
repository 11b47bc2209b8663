// One time step of an LSTM, forward and backward, between two matrix products: the loops of lstm_steps.py.
//
// Owner         a thread has unit j of sequence n, with its four gates i, f, g, o.
// Traffic       forward reads a, q and c and writes a, c_after, tanh_c and m once: 16·N·H values. Backward reads dm,
//               the gates, c, tanh_c and dc and writes da and dc once: 13·N·H values.
// Accumulation  float; double for double. There are no half types: networks over time are computed in float32.

template <class T>
__global__ void __launch_bounds__(256)
    lstm_step(T* __restrict__ a, const T* __restrict__ q, const T* __restrict__ bias, const T* __restrict__ c,
              T* __restrict__ c_after, T* __restrict__ tanh_c, T* __restrict__ m, long long total, long long H) {
  using A = Accumulator<T>;
  const long long k = (long long)blockIdx.x * 256 + threadIdx.x;
  if (k >= total) return;
  const long long n = k / H, j = k - n * H, first = n * 4 * H + j;
  const auto sum = [&](int gate) {
    return A(a[first + gate * H]) + A(q[first + gate * H]) + A(bias[gate * H + j]);
  };
  const A i = logistic_of(sum(0)), f = logistic_of(sum(1)), g = tanh_of(sum(2)), o = logistic_of(sum(3));
  const A after = f * A(c[k]) + i * g, bounded = tanh_of(after);
  a[first] = T(i), a[first + H] = T(f), a[first + 2 * H] = T(g), a[first + 3 * H] = T(o);
  c_after[k] = T(after), tanh_c[k] = T(bounded), m[k] = T(o * bounded);
}

template <class T>
__global__ void __launch_bounds__(256)
    lstm_step_backward(const T* __restrict__ dm, const T* __restrict__ gates, const T* __restrict__ c,
                       const T* __restrict__ tanh_c, T* __restrict__ dc, T* __restrict__ da, long long total,
                       long long H) {
  using A = Accumulator<T>;
  const long long k = (long long)blockIdx.x * 256 + threadIdx.x;
  if (k >= total) return;
  const long long n = k / H, first = n * 4 * H + k - n * H;
  const A i = A(gates[first]), f = A(gates[first + H]), g = A(gates[first + 2 * H]), o = A(gates[first + 3 * H]);
  const A dm_k = A(dm[k]), bounded = A(tanh_c[k]), d = A(dc[k]) + dm_k * o * (A(1) - bounded * bounded);
  da[first] = T(d * g * i * (A(1) - i));
  da[first + H] = T(d * A(c[k]) * f * (A(1) - f));
  da[first + 2 * H] = T(d * i * (A(1) - g * g));
  da[first + 3 * H] = T(dm_k * bounded * o * (A(1) - o));
  dc[k] = T(d * f);
}
