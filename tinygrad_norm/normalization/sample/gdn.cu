// Generalized divisive normalization of x (N, C, S): what is elementwise around the contraction over channels.
//
// Owner         a thread has a value.
// Forward       reads x and z once, writes z, with β, and y once: 4·N·C·S values.
// Shares        reads dy, x and z once, writes u once. Backward reads dy, x, z and t once, writes dx once.
// scale         (N, S), by which x is divided before it is squared: 1 unless squares might overflow.
// squared       whether d = √z, else z.
// Accumulation  float; double for double. z, u and t have that type.

// Where value i of x (N, C, S) is.
struct Place {
  long long c, position;  // of scale

  __device__ __forceinline__ Place(long long i, long long C, long long S) {
    const long long row = i / S;
    c = row % C, position = row / C * S + i % S;
  }
};

template <class T>
__global__ void __launch_bounds__(256, 1)
    gdn_forward(const T* __restrict__ x, const Accumulator<T>* __restrict__ scale,
                const Accumulator<T>* __restrict__ beta, Accumulator<T>* __restrict__ z, T* __restrict__ y, long long size,
                long long C, long long S, bool squared, bool inverse) {
  using A = Accumulator<T>;
  const long long i = (long long)blockIdx.x * 256 + threadIdx.x;
  if (i >= size) return;
  const Place place(i, C, S);
  const A s = scale[place.position], share = beta[place.c] / s, sum = z[i] + (squared ? share / s : share);
  const A value = A(x[i]) / s, d = squared ? sqrt(sum) : sum;
  z[i] = sum;
  y[i] = T(inverse ? value * d * s * s : value / d);
}

// u = ∓dy·x/(p·d·z) for y = x/d, dy·x·d/(p·z) for y = x·d, in units of the scale; p is 2 if squared, else 1.
template <class T>
__global__ void __launch_bounds__(256, 1)
    gdn_shares(const T* __restrict__ dy, const T* __restrict__ x, const Accumulator<T>* __restrict__ scale,
               const Accumulator<T>* __restrict__ z, Accumulator<T>* __restrict__ u, long long size, long long C,
               long long S, bool squared, bool inverse) {
  using A = Accumulator<T>;
  const long long i = (long long)blockIdx.x * 256 + threadIdx.x;
  if (i >= size) return;
  const A s = scale[Place(i, C, S).position], d = squared ? sqrt(z[i]) : z[i];
  const A g = A(dy[i]) * (A(x[i]) / s) * (squared ? A(0.5) : A(1));
  u[i] = !inverse ? -g / z[i] / d : squared ? g / d : g;
}

// dx = (dy/d + a'·t)/s for y = x/d, or s·(dy·d + a'·t) for y = x·d; a' = 2x/s if squared, else the sign of x.
template <class T>
__global__ void __launch_bounds__(256, 1)
    gdn_backward(const T* __restrict__ dy, const T* __restrict__ x, const Accumulator<T>* __restrict__ scale,
                 const Accumulator<T>* __restrict__ z, const Accumulator<T>* __restrict__ t, T* __restrict__ dx,
                 long long size, long long C, long long S, bool squared, bool inverse) {
  using A = Accumulator<T>;
  const long long i = (long long)blockIdx.x * 256 + threadIdx.x;
  if (i >= size) return;
  const A s = scale[Place(i, C, S).position], d = squared ? sqrt(z[i]) : z[i], value = A(x[i]) / s;
  const A slope = squared ? 2 * value : value > A(0) ? A(1) : value < A(0) ? A(-1) : value;
  const A sum = (inverse ? A(dy[i]) * d : A(dy[i]) / d) + slope * t[i];
  dx[i] = T(inverse ? sum * s : sum / s);
}
