"""The visual stream (P 2.1): frames in, pooled features out."""

import chainer
import numpy

from chainer_impression.links.residual_stream import ResidualStream
from chainer_impression.whole_clip import pool_frames

N_COLOURS = 3
#: At most this many frames go through the stream at once (R).
MAX_CHUNK = 256
#: On a CPU small chunks are faster, since they stay in its caches, and keep
#: the column matrices of the convolutions small. The result is the same.
CPU_CHUNK = 8
#: Without cuDNN the first convolution's column matrix takes 17 MB a frame.
GPU_CHUNK = 64


def unfold(n):
    """The paper's n x n as the eye has it: n x n."""
    return n, n


class VisualStream(ResidualStream):
    """A :class:`ResidualStream` over frames of (N, 3, height, width).

    Values are RGB, float32, 0 to 255, no mean subtracted (R).
    """

    def __init__(self):
        super().__init__(unfold, N_COLOURS)

    def extract_features(self, frames):
        """Pooled features of a clip, averaged over its frames (P 2.3).

        Args:
            frames: uint8 (n_frames, 3, height, width), RGB, or an iterable of
                such arrays. Any number of frames, of any size.

        Returns:
            numpy.ndarray: float32 (256,).

        Raises:
            ValueError: the frames have another shape or dtype, there is none,
                or they are smaller than the first kernel.
        """
        size = CPU_CHUNK if self.xp is numpy else GPU_CHUNK
        with chainer.using_config('train', False), chainer.no_backprop_mode():
            return pool_frames(frames, self._features,
                               self.conv1_relu.conv.ksize, size)

    def _features(self, frames):
        x = self.device.send(numpy.asarray(frames, dtype=numpy.float32))
        return chainer.backends.cuda.to_cpu(self(x).array)
