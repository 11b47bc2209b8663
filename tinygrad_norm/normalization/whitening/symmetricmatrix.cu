// Eigenvalues and eigenvectors of symmetric matrices (G, d, d), by cyclic Jacobi rotations.
//
// Owner         a block of 256 threads has a matrix, a warp a row or a pair of rows: no index is divided. A round
//               rotates d/2 disjoint pairs of rows and columns at once; d - 1 rounds, a sweep, meet every pair. About 6 to 9 sweeps; without a look at the host.
// Traffic       each round reads and writes the matrix twice and the vectors once: they stay in the L2 cache.
// Shared        the cosine and the sine of each pair.
// Accumulation  the type of the matrix: float or double.

// a: the matrices, overwritten. values (G, d), not sorted; the columns of `vectors` (G, d, d) are the eigenvectors.
template <class T>
__global__ void __launch_bounds__(256)
    symmetric_eigen(T* __restrict__ a, T* __restrict__ values, T* __restrict__ vectors, long long d,
                    long long sweeps) {
  extern __shared__ __align__(16) unsigned char shared_memory[];
  T* const turns = reinterpret_cast<T*>(shared_memory);
  const long long size = d * d, players = d + d % 2, pairs = players / 2;
  T *const A = a + blockIdx.x * size, *const U = vectors + blockIdx.x * size;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  for (long long j = warp; j < d; j += 8) {
    for (long long k = lane; k < d; k += 32) U[j * d + k] = T(j == k);
  }
  __syncthreads();
  for (long long sweep = 0; sweep < sweeps; sweep++) {
    Two<T> squares = {0, 0};  // beside the diagonal, and of all
    for (long long j = warp; j < d; j += 8) {
      for (long long k = lane; k < d; k += 32) {
        const T square = A[j * d + k] * A[j * d + k];
        squares.first += j == k ? T(0) : square;
        squares.second += square;
      }
    }
    squares = reduce<256>(squares, Sum{});
    if (!(squares.first > squares.second * T(1e-30))) break;  // also for NaN
    for (long long round = 0; round + 1 < players; round++) {
      // Pair k: each round all but the last player move on by one seat; k = 0 plays against the last one.
      const auto seat = [&](long long n) { return n < players - 1 ? n : n - (players - 1); };
      const auto first = [&](long long k) { return seat(round + k); };
      const auto second = [&](long long k) { return k == 0 ? players - 1 : seat(round + players - 1 - k); };
      for (long long k = threadIdx.x; k < pairs; k += 256) {
        const long long p = first(k), q = second(k);
        T c = 1, s = 0;
        if (q < d && p < d && A[p * d + q] != T(0)) {
          const T tau = (A[q * d + q] - A[p * d + p]) / (2 * A[p * d + q]);
          const T t = (tau < T(0) ? T(-1) : T(1)) / (fabs(tau) + sqrt(1 + tau * tau));
          c = 1 / sqrt(1 + t * t);
          s = t * c;
        }
        turns[2 * k] = c;
        turns[2 * k + 1] = s;
      }
      __syncthreads();
      for (long long k = warp; k < pairs; k += 8) {
        const long long p = first(k), q = second(k);
        if (q >= d || p >= d) continue;
        const T c = turns[2 * k], s = turns[2 * k + 1];
        for (long long j = lane; j < d; j += 32) {
          const T x = A[p * d + j], y = A[q * d + j];
          A[p * d + j] = c * x - s * y;
          A[q * d + j] = s * x + c * y;
        }
      }
      __syncthreads();
      for (long long j = warp; j < d; j += 8) {
        for (long long k = lane; k < pairs; k += 32) {
          const long long p = first(k), q = second(k);
          if (q >= d || p >= d) continue;
          const T c = turns[2 * k], s = turns[2 * k + 1], x = A[j * d + p], y = A[j * d + q];
          const T u = U[j * d + p], v = U[j * d + q];
          A[j * d + p] = j == q ? T(0) : c * x - s * y;
          A[j * d + q] = j == p ? T(0) : s * x + c * y;
          U[j * d + p] = c * u - s * v;
          U[j * d + q] = s * u + c * v;
        }
      }
      __syncthreads();
    }
  }
  for (long long i = threadIdx.x; i < d; i += 256) values[blockIdx.x * d + i] = A[i * d + i];
}
