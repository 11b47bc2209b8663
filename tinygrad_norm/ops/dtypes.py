"""The dtypes by the names they have in PyTorch."""

import numpy

float16 = numpy.dtype(numpy.float16)
float32 = numpy.dtype(numpy.float32)
float64 = numpy.dtype(numpy.float64)
int64 = numpy.dtype(numpy.int64)
bool = numpy.dtype(numpy.bool_)
