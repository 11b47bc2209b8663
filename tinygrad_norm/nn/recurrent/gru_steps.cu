// One time step of a GRU, forward and backward, between two matrix products: the loops of gru_steps.py.
//
// Owner         a thread has unit j of sequence i, with its three gates r, z, n.
// Traffic       forward reads a, q and h and writes a, q_n and h_after once: 12·N·H values. Backward reads dh, the
//               gates, q_n and h and writes d and straight once: 11·N·H values.
// Accumulation  float; double for double. There are no half types: networks over time are computed in float32.

template <class T>
__global__ void __launch_bounds__(256)
    gru_step(T* __restrict__ a, const T* __restrict__ q, const T* __restrict__ bias_ih,
             const T* __restrict__ bias_hh, const T* __restrict__ h, T* __restrict__ q_n, T* __restrict__ h_after,
             long long total, long long H) {
  using A = Accumulator<T>;
  const long long k = (long long)blockIdx.x * 256 + threadIdx.x;
  if (k >= total) return;
  const long long i = k / H, j = k - i * H, first = i * 3 * H + j;
  const auto p = [&](int gate) { return A(a[first + gate * H]) + A(bias_ih[gate * H + j]); };
  const auto recurrent = [&](int gate) { return A(q[first + gate * H]) + A(bias_hh[gate * H + j]); };
  const A r = logistic_of(p(0) + recurrent(0)), z = logistic_of(p(1) + recurrent(1)), of_n = recurrent(2);
  const A n = tanh_of(p(2) + r * of_n);
  a[first] = T(r), a[first + H] = T(z), a[first + 2 * H] = T(n);
  q_n[k] = T(of_n), h_after[k] = T(n + z * (A(h[k]) - n));
}

template <class T>
__global__ void __launch_bounds__(256)
    gru_step_backward(const T* __restrict__ dh, const T* __restrict__ gates, const T* __restrict__ q_n,
                      const T* __restrict__ h, T* __restrict__ d, T* __restrict__ straight, long long total,
                      long long H) {
  using A = Accumulator<T>;
  const long long k = (long long)blockIdx.x * 256 + threadIdx.x;
  if (k >= total) return;
  const long long i = k / H, j = k - i * H, first = i * 3 * H + j, out = i * 4 * H + j;
  const A r = A(gates[first]), z = A(gates[first + H]), n = A(gates[first + 2 * H]), dh_k = A(dh[k]);
  const A dn = dh_k * (A(1) - z) * (A(1) - n * n);
  d[out] = T(dn * r);
  d[out + H] = T(dn * r * A(q_n[k]) * (A(1) - r));
  d[out + 2 * H] = T(dh_k * (A(h[k]) - n) * z * (A(1) - z));
  d[out + 3 * H] = T(dn);
  straight[k] = T(dh_k * z);
}
