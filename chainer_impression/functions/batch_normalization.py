"""Batch normalisation, a channel at a time."""

import chainer
import chainer.functions as F
import numpy as np
from chainer.functions.normalization import (
    batch_normalization as chainer_normalization)
from chainer.utils import argument

from chainer_impression.functions import fast_cpu


def _is_fast(x, gamma, axis, *arrays):
    """True if there is one channel axis, the second, and the arrays fit."""
    return (x.ndim >= 2 and gamma.ndim == 1
            and axis == (0,) + tuple(range(2, x.ndim))
            and fast_cpu.is_fast(x, gamma, *arrays))


def _flat(x):
    """(samples, channels, ...) -> contiguous (samples, channels, positions)"""
    return fast_cpu.ready(x).reshape(x.shape[:2] + (-1,))


class _FastImplementation(chainer_normalization.GeneralBatchNormalizationImpl):
    """The arithmetic that Chainer's function asks an implementation for."""

    def forward(self, axis, gamma, x, x_layout, xp, expander, beta, eps, decay,
                running_mean, running_var):
        fast_cpu.refuse_empty(x)
        kernels = fast_cpu.engine().kernels
        flat = _flat(x)
        gamma, beta = fast_cpu.ready(gamma), fast_cpu.ready(beta)
        y = np.empty_like(flat)
        mean, var, inv_std = np.empty((3, len(gamma)), np.float32)
        fast_cpu.run(
            lambda start, end: kernels.normalize(
                flat, start, end, gamma, beta, eps, mean, var, inv_std, y),
            len(gamma))
        if running_mean is not None:
            count = x.size // gamma.size
            adjust = count / max(count - 1., 1.)  # unbiased estimate
            running_mean *= decay
            running_mean += (1 - decay) * mean
            running_var *= decay
            running_var += (1 - decay) * adjust * var
        return (y.reshape(x.shape), x_layout, running_mean, running_var,
                mean, var, inv_std, None)

    def backward(self, axis, gamma, gy, x, x_layout, xp, expander, mean,
                 inv_std, eps, var, forward_data):
        if not _is_fast(x, gamma, axis, gy):
            return super().backward(
                axis, gamma, gy, x, x_layout, xp, expander, mean, inv_std, eps,
                var, forward_data)
        kernels = fast_cpu.engine().kernels
        flat, gy, gamma = _flat(x), _flat(gy), fast_cpu.ready(gamma)
        gx = np.empty_like(flat)
        ggamma, gbeta = np.empty((2, len(gamma)), np.float32)
        fast_cpu.run(
            lambda start, end: kernels.normalize_gradient(
                flat, gy, start, end, gamma, mean, inv_std, gx, ggamma, gbeta),
            len(gamma))
        return gx.reshape(x.shape), x_layout, ggamma, gbeta


def _select_implementation(function, inputs):
    x, gamma, beta = inputs
    if _is_fast(x, gamma, function.axis, beta, function.running_mean,
                function.running_var):
        return _FastImplementation()
    return chainer_normalization._impl_selector(function, inputs)


class FixedBatchNormalization(chainer_normalization.FixedBatchNormalization):
    """Chainer's; its own forward pass for float32 in NumPy."""

    def forward(self, inputs):
        x, gamma, beta, mean, var = inputs
        axis = chainer_normalization._compute_axis(
            x.ndim, gamma.ndim, self.axis)
        if not _is_fast(x, gamma, axis, beta, mean, var):
            return super().forward(inputs)
        fast_cpu.refuse_empty(x)
        kernels = fast_cpu.engine().kernels
        # What the backward pass, which is Chainer's, reads.
        self.retain_inputs((0, 1, 3, 4))
        self.axis = axis
        self.key_axis = 1,
        self.expander = (None, slice(None)) + (None,) * (x.ndim - 2)
        self.inv_var = np.reciprocal(var + np.float32(self.eps))
        self.inv_std = np.sqrt(self.inv_var)
        # A whole clip's sound is one sample, so the threads share the planes,
        # one for each sample and channel, not the samples.
        planes = fast_cpu.ready(x).reshape(x.shape[0] * x.shape[1], -1)
        mean, scale, shift = (
            np.tile(a, len(x)) for a in (mean, self.inv_std * gamma, beta))
        y = np.empty_like(planes)
        fast_cpu.run(
            lambda start, end: kernels.scale_shift(
                planes, start, end, mean, scale, shift, y), len(planes))
        return y.reshape(x.shape),


def batch_normalization(x, gamma, beta, **kwargs):
    """:func:`chainer.functions.batch_normalization`, faster on the CPU.

    Args:
        x: float32 (samples, channels, ...); a variable or an array, like the
            next two.
        gamma, beta: scale and shift, float32 (channels,).
        **kwargs: ``eps``, ``running_mean`` and ``running_var``, which are
            updated in place, ``decay``, ``axis``, as Chainer has them.

    Returns:
        chainer.Variable: like ``x``.

    Raises:
        ValueError: if ``x`` is empty.
    """
    if not fast_cpu.is_fast(chainer.as_array(x)):
        return F.batch_normalization(x, gamma, beta, **kwargs)
    eps, running_mean, running_var, decay, axis = argument.parse_kwargs(
        kwargs, ('eps', 2e-5), ('running_mean', None), ('running_var', None),
        ('decay', 0.9), ('axis', None))
    function = chainer_normalization.BatchNormalization(
        eps, running_mean, running_var, decay, axis,
        impl_selector=_select_implementation)
    return function.apply((x, gamma, beta))[0]


def fixed_batch_normalization(x, gamma, beta, mean, var, eps=2e-5, axis=None):
    """:func:`chainer.functions.fixed_batch_normalization`, faster on the CPU.

    Args:
        x: float32 (samples, channels, ...); a variable or an array, like the
            next four.
        gamma, beta, mean, var: scale, shift and the fixed statistics, float32
            (channels,).
        eps (float): added to the variance.
        axis (int, tuple of ints or None): axes of the statistics.

    Returns:
        chainer.Variable: like ``x``.

    Raises:
        ValueError: if ``x`` is empty.
    """
    if not fast_cpu.is_fast(chainer.as_array(x)):
        return F.fixed_batch_normalization(
            x, gamma, beta, mean, var, eps, axis)
    return FixedBatchNormalization(eps, axis).apply(
        (x, gamma, beta, mean, var))[0]
