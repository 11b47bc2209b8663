#include <cuda_bf16.h>
#include <cuda_fp16.h>

// Both 16-bit formats: all conversions, and all operations.

template <class T>
__global__ void widen(const T* x, float* y, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = float(x[i]);
}

template <class From, class T>
__global__ void narrow(const From* x, T* y, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = T(x[i]);
}

template <class T>
__global__ void arithmetic(const T* a, const T* b, T* sum, T* difference, T* product, T* quotient, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  sum[i] = a[i] + b[i], difference[i] = a[i] - b[i];
  product[i] = a[i] * b[i], quotient[i] = a[i] / b[i];
}

extern "C" __global__ void swap_halves(const __half2* x, __half2* y) {
  float2 v = __half22float2(x[threadIdx.x]);
  __half2 other = __shfl_xor_sync(0xffffffffu, __floats2half2_rn(v.y, v.x), 1);
  y[threadIdx.x] = __halves2half2(__low2half(other), __high2half(other));
}

extern "C" __global__ void swap_bfloats(const __nv_bfloat162* x, __nv_bfloat162* y) {
  float2 v = __bfloat1622float2(x[threadIdx.x]);
  __nv_bfloat162 other = __shfl_xor_sync(0xffffffffu, __floats2bfloat162_rn(v.y, v.x), 1);
  y[threadIdx.x] = __halves2bfloat162(__low2bfloat16(other), __high2bfloat16(other));
}

extern "C" __global__ void by_value(__half h, __nv_bfloat16 b, float* y) {
  y[0] = __half2float(h);
  y[1] = __bfloat162float(b);
}
