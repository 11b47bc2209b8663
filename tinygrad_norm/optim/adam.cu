// One step of Adam on flat arrays of n numbers: parameters, gradients and two or three moments.
//
// Owner         a thread has VEC neighbouring numbers.
// Traffic       reads param, grad, exp_avg and exp_avg_sq once, writes all but grad once: 7·n values; with
//               amsgrad 9·n.
// Accumulation  float; double for double; the moments have that type.
// Rates         a, e and shrink are the three numbers of adam.py that change from step to step. A captured
//               graph reads them from memory, at `rates`, where adam_rates writes them.

template <class T, int VEC>
__global__ void __launch_bounds__(256, 1)
    adam_step(T* __restrict__ param, const T* __restrict__ grad, Accumulator<T>* __restrict__ exp_avg,
              Accumulator<T>* __restrict__ exp_avg_sq, Accumulator<T>* __restrict__ max_exp_avg_sq,
              const Accumulator<T>* __restrict__ rates, long long n, Accumulator<T> a, Accumulator<T> e,
              Accumulator<T> shrink, Accumulator<T> beta1, Accumulator<T> beta2, Accumulator<T> rest1,
              Accumulator<T> rest2, Accumulator<T> weight_decay, bool maximize) {
  using A = Accumulator<T>;
  const long long i = ((long long)blockIdx.x * 256 + threadIdx.x) * VEC;
  if (i >= n) return;
  if (rates != nullptr) a = rates[0], e = rates[1], shrink = rates[2];
  Pack<T, VEC> theta = load<VEC>(param + i);
  const Pack<T, VEC> dtheta = load<VEC>(grad + i);
  Pack<A, VEC> m = load<VEC>(exp_avg + i), v = load<VEC>(exp_avg_sq + i), largest;
  if (max_exp_avg_sq != nullptr) largest = load<VEC>(max_exp_avg_sq + i);
#pragma unroll
  for (int k = 0; k < VEC; k++) {
    const A now = A(theta.at[k]);
    const A g = (maximize ? -A(dtheta.at[k]) : A(dtheta.at[k])) + weight_decay * now;
    m.at[k] = beta1 * m.at[k] + rest1 * g;
    v.at[k] = beta2 * v.at[k] + rest2 * (g * g);
    A size = v.at[k];
    if (max_exp_avg_sq != nullptr) {
      // As in NumPy, NaN is kept.
      largest.at[k] = size != size || size > largest.at[k] ? size : largest.at[k];
      size = largest.at[k];
    }
    theta.at[k] = T(now * shrink - a * (m.at[k] / (sqrt(size) + e)));
  }
  store(param + i, theta);
  store(exp_avg + i, m);
  store(exp_avg_sq + i, v);
  if (max_exp_avg_sq != nullptr) store(max_exp_avg_sq + i, largest);
}

// Increment the step count and write a, e and shrink for this step. A captured graph runs it before adam_step.
template <class T>
__global__ void adam_rates(long long* __restrict__ step, const double* __restrict__ lr, double beta1, double beta2,
                           double eps, double least, double weight_decay, Accumulator<T>* __restrict__ rates) {
  using A = Accumulator<T>;
  const long long t = ++*step;
  const double root = sqrt(1 - pow(beta2, double(t)));
  rates[0] = A(*lr * root / (1 - pow(beta1, double(t))));
  rates[1] = A(max(eps * root, least));
  rates[2] = A(1 - *lr * weight_decay);
}
