"""Chainer's convolution and batch normalization links, routed to the functions that are fast on the CPU.

Parameters, their names, their initial values and the serialized form are Chainer's.
"""
import chainer
import chainer.links as L
from chainer.utils import argument

from chainer_impression.functions import batch_normalization, convolution_2d, fixed_batch_normalization


class Convolution2D(L.Convolution2D):
    """:class:`chainer.links.Convolution2D`, faster on the CPU."""

    def forward(self, x):
        """Convolves ``x``, (samples, channels, height, width)."""
        if self.cudnn_fast:
            return super().forward(x)
        if self.W.array is None:
            self._initialize_params(x.shape[1])
        return convolution_2d(x, self.W, self.b, self.stride, self.pad, dilate=self.dilate, groups=self.groups)


class BatchNormalization(L.BatchNormalization):
    """:class:`chainer.links.BatchNormalization`, faster on the CPU."""

    def forward(self, x, **kwargs):
        """Normalizes ``x``, (samples, channels, …); ``finetune=True`` accumulates population statistics."""
        finetune, = argument.parse_kwargs(kwargs, ('finetune', False))
        # Without gamma or beta, or before the sizes are known, Chainer's link has more to do than to route.
        if self.gamma is None or self.beta is None or self.avg_mean is None:
            return super().forward(x, finetune=finetune)
        if not chainer.config.train:
            return fixed_batch_normalization(
                x, self.gamma, self.beta, self.avg_mean, self.avg_var, self.eps, axis=self.axis)
        if chainer.config.in_recomputing:
            # The statistics and the count have been updated the first time.
            decay, mean, var = self.decay, None, None
        else:
            if finetune:
                self.N += 1
            decay = 1. - 1. / self.N if finetune else self.decay
            mean, var = self.avg_mean, self.avg_var
        return batch_normalization(
            x, self.gamma, self.beta, eps=self.eps, running_mean=mean, running_var=var, decay=decay, axis=self.axis)
