"""Rectified linear unit."""

import chainer
import chainer.functions as F
import numpy as np
from chainer.functions.activation import relu as chainer_relu

from chainer_impression.functions import fast_cpu


class ReLU(chainer_relu.ReLU):
    """Chainer's rectified linear unit; its own passes for float32 in NumPy."""

    def forward_cpu(self, inputs):
        x, = inputs
        if not fast_cpu.is_fast(x):
            return super().forward_cpu(inputs)
        fast_cpu.refuse_empty(x)
        kernels = fast_cpu.engine().kernels
        flat = fast_cpu.ready(x).ravel()
        y = np.empty_like(flat)
        fast_cpu.run(
            lambda start, end: kernels.rectify(flat, start, end, y), len(flat))
        self.retain_outputs((0,))
        return y.reshape(x.shape),

    def backward(self, indexes, grad_outputs):
        y = self.get_retained_outputs()[0].array
        gy = grad_outputs[0].array
        if chainer.config.enable_backprop or not fast_cpu.is_fast(y, gy):
            return super().backward(indexes, grad_outputs)
        kernels = fast_cpu.engine().kernels
        flat, flat_gy = fast_cpu.ready(y).ravel(), fast_cpu.ready(gy).ravel()
        gx = np.empty_like(flat)
        fast_cpu.run(
            lambda start, end: kernels.rectify_gradient(
                flat, flat_gy, start, end, gx), len(flat))
        return chainer.Variable(gx.reshape(y.shape), requires_grad=False),


def relu(x):
    """:func:`chainer.functions.relu`, faster on the CPU.

    Args:
        x: float32 of any shape; a variable or an array.

    Returns:
        chainer.Variable: like ``x``.

    Raises:
        ValueError: if ``x`` is empty.
    """
    if not fast_cpu.is_fast(chainer.as_array(x)):
        return F.relu(x)
    return ReLU().apply((x,))[0]
