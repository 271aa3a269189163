"""The functions that the network spends its time in, faster on the CPU.

Each has the signature and the result of its namesake in
:mod:`chainer.functions`, and is exactly that one for anything but NumPy arrays
of float32 (CuPy, ChainerX, float64), where Numba does not work, and where
``chainer.config.impression_fast_cpu`` is False, which
``IMPRESSION_FAST_CPU=0`` in the environment makes the default.
"""

from chainer_impression.functions.batch_normalization import (
    batch_normalization, fixed_batch_normalization)
from chainer_impression.functions.convolution_2d import convolution_2d
from chainer_impression.functions.max_pooling_2d import max_pooling_2d
from chainer_impression.functions.relu import relu

__all__ = ['batch_normalization', 'convolution_2d',
           'fixed_batch_normalization', 'max_pooling_2d', 'relu']
