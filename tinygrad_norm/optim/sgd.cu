// One step of SGD on flat arrays of n numbers: parameters, gradients and, with momentum, a buffer.
//
// Owner         a thread has VEC neighbouring numbers.
// Traffic       reads param and grad once, writes param once: 3·n values; with momentum 5·n, because the
//               buffer is also read (except in the first step) and written.
// Accumulation  float; double for double; the buffer has that type.

template <class T, int VEC>
__global__ void __launch_bounds__(256, 1)
    sgd_step(T* __restrict__ param, const T* __restrict__ grad, Accumulator<T>* __restrict__ momentum_buffer,
             const double* __restrict__ lr_in_memory, long long n, Accumulator<T> lr, Accumulator<T> momentum,
             Accumulator<T> kept, Accumulator<T> weight_decay, bool first, bool nesterov, bool maximize) {
  using A = Accumulator<T>;
  const long long i = ((long long)blockIdx.x * 256 + threadIdx.x) * VEC;
  if (i >= n) return;
  if (lr_in_memory != nullptr) lr = A(*lr_in_memory);
  Pack<T, VEC> theta = load<VEC>(param + i);
  const Pack<T, VEC> dtheta = load<VEC>(grad + i);
  Pack<A, VEC> b;
  if (momentum_buffer != nullptr && !first) b = load<VEC>(momentum_buffer + i);
#pragma unroll
  for (int k = 0; k < VEC; k++) {
    const A now = A(theta.at[k]);
    A g = (maximize ? -A(dtheta.at[k]) : A(dtheta.at[k])) + weight_decay * now;
    if (momentum_buffer != nullptr) {
      b.at[k] = first ? g : momentum * b.at[k] + kept * g;
      g = nesterov ? g + momentum * b.at[k] : b.at[k];
    }
    theta.at[k] = T(now - lr * g);
  }
  store(param + i, theta);
  if (momentum_buffer != nullptr) store(momentum_buffer + i, b);
}
