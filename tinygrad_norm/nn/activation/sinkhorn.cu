// Sinkhorn's iterations on positive matrices (n, m): columns, then rows and columns in turn, divided by their sums.
//
// Owner         a block has a matrix, in shared memory if it fits there, else in `work`; a thread has a row, or a column.
// Forward       reads p once, writes y once, and the divisors: n + m numbers an iteration.
// Backward      reads dy, y and the divisors once, writes dp once. It goes back from y: the matrix before a step is the
//               one after it times the divisors.
// Accumulation  float; double for double. The divisors have that type.

// The matrix of this block, or the k-th of several of its size.
template <class A>
__device__ __forceinline__ A* matrix_of_block(A* work, unsigned char* shared, long long size, int k, int count) {
  if (work != nullptr) return work + (blockIdx.x * (long long)count + k) * size;
  return reinterpret_cast<A*>(shared) + k * size;
}

// The divisor of one line of `count` numbers `step` apart, by which they are divided.
template <class A>
__device__ __forceinline__ A divide_line(A* line, long long count, long long step, A eps) {
  A sum = 0;
  for (long long i = 0; i < count; i++) sum += line[i * step];
  sum += eps;
  for (long long i = 0; i < count; i++) line[i * step] /= sum;
  return sum;
}

// Back through divide_line: the gradients become (d - Σ d·y)/divisor, and y becomes y·divisor.
template <class A>
__device__ __forceinline__ void undo_line(A* d, A* y, long long count, long long step, A divisor) {
  A sum = 0;
  for (long long i = 0; i < count; i++) sum += d[i * step] * y[i * step];
  for (long long i = 0; i < count; i++) {
    d[i * step] = (d[i * step] - sum) / divisor;
    y[i * step] *= divisor;
  }
}

template <class T>
__global__ void __launch_bounds__(256, 1)
    sinkhorn_forward(const T* __restrict__ p, T* __restrict__ y, Accumulator<T>* __restrict__ rows,
                     Accumulator<T>* __restrict__ columns, Accumulator<T>* __restrict__ work, long long n, long long m,
                     long long iterations, Accumulator<T> eps) {
  using A = Accumulator<T>;
  extern __shared__ __align__(16) unsigned char shared_memory[];
  const long long b = blockIdx.x, size = n * m;
  A* const M = matrix_of_block(work, shared_memory, size, 0, 1);
  for (long long i = threadIdx.x; i < size; i += blockDim.x) M[i] = A(p[b * size + i]) + eps;
  __syncthreads();
  for (long long k = 0; k < iterations; k++) {
    if (k > 0) {
      A* const sums = rows + (b * (iterations - 1) + k - 1) * n;
      for (long long i = threadIdx.x; i < n; i += blockDim.x) sums[i] = divide_line(M + i * m, m, 1LL, eps);
      __syncthreads();
    }
    A* const sums = columns + (b * iterations + k) * m;
    for (long long j = threadIdx.x; j < m; j += blockDim.x) sums[j] = divide_line(M + j, n, m, eps);
    __syncthreads();
  }
  for (long long i = threadIdx.x; i < size; i += blockDim.x) y[b * size + i] = T(M[i]);
}

template <class T>
__global__ void __launch_bounds__(256, 1)
    sinkhorn_backward(const T* __restrict__ dy, const T* __restrict__ y, const Accumulator<T>* __restrict__ rows,
                      const Accumulator<T>* __restrict__ columns, T* __restrict__ dp, Accumulator<T>* __restrict__ work,
                      long long n, long long m, long long iterations) {
  using A = Accumulator<T>;
  extern __shared__ __align__(16) unsigned char shared_memory[];
  const long long b = blockIdx.x, size = n * m;
  A* const M = matrix_of_block(work, shared_memory, size, 0, 2);
  A* const dM = matrix_of_block(work, shared_memory, size, 1, 2);
  for (long long i = threadIdx.x; i < size; i += blockDim.x) {
    M[i] = A(y[b * size + i]);
    dM[i] = A(dy[b * size + i]);
  }
  __syncthreads();
  for (long long k = iterations - 1; k >= 0; k--) {
    const A* const of_columns = columns + (b * iterations + k) * m;
    for (long long j = threadIdx.x; j < m; j += blockDim.x) undo_line(dM + j, M + j, n, m, of_columns[j]);
    __syncthreads();
    if (k > 0) {
      const A* const of_rows = rows + (b * (iterations - 1) + k - 1) * n;
      for (long long i = threadIdx.x; i < n; i += blockDim.x) undo_line(dM + i * m, M + i * m, m, 1LL, of_rows[i]);
      __syncthreads();
    }
  }
  for (long long i = threadIdx.x; i < size; i += blockDim.x) dp[b * size + i] = T(dM[i]);
}
