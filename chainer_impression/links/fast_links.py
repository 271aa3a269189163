"""Chainer's links, routed to the functions that are fast on the CPU.

Parameters, their names, initial values and serialised form are Chainer's.
"""

import chainer
import chainer.links as L
from chainer.utils import argument

from chainer_impression.functions import (
    batch_normalization, convolution_2d, fixed_batch_normalization)


class Convolution2D(L.Convolution2D):
    """:class:`chainer.links.Convolution2D`, faster on the CPU."""

    def forward(self, x):
        """Convolves ``x``, (samples, channels, height, width)."""
        # A layout of cuDNN's own, or sizes to be learnt from the input.
        if self.cudnn_fast or self.W.array is None:
            return super().forward(x)
        return convolution_2d(
            x, self.W, self.b, self.stride, self.pad, dilate=self.dilate,
            groups=self.groups)


class BatchNormalization(L.BatchNormalization):
    """:class:`chainer.links.BatchNormalization`, faster on the CPU."""

    def forward(self, x, **kwargs):
        """Normalises ``x``, (samples, channels, ...).

        With ``finetune=True`` it accumulates the statistics of all batches.
        """
        finetune, = argument.parse_kwargs(kwargs, ('finetune', False))
        # No gamma, no beta, or sizes to be learnt from the input.
        if self.gamma is None or self.beta is None or self.avg_mean is None:
            return super().forward(x, finetune=finetune)
        if not chainer.config.train:
            return fixed_batch_normalization(
                x, self.gamma, self.beta, self.avg_mean, self.avg_var,
                self.eps, axis=self.axis)
        mean, var, decay = self.avg_mean, self.avg_var, self.decay
        if chainer.config.in_recomputing:
            # The first computation has counted this batch.
            mean = var = None
        elif finetune:
            self.N += 1
            decay = 1. - 1. / self.N
        return batch_normalization(
            x, self.gamma, self.beta, eps=self.eps, running_mean=mean,
            running_var=var, decay=decay, axis=self.axis)
