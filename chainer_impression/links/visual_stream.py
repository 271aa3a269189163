"""The visual stream (P 2.1): frames in, pooled features out."""

import chainer
import numpy

from chainer_impression.links.residual_stream import (
    N_FEATURES, ResidualStream)

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
        chunks = (frames,) if hasattr(frames, 'ndim') else frames
        # Summed in double precision, so that the average does not depend on
        # how the frames were cut into chunks.
        total, n_frames = numpy.zeros(N_FEATURES), 0
        size = CPU_CHUNK if self.xp is numpy else GPU_CHUNK
        with chainer.using_config('train', False), chainer.no_backprop_mode():
            for chunk in chunks:
                self._check(chunk)
                for start in range(0, len(chunk), size):
                    x = self.device.send(numpy.asarray(
                        chunk[start:start + size], dtype=numpy.float32))
                    total += self._sum(self(x).array)
                n_frames += len(chunk)
        if n_frames == 0:
            raise ValueError('there are no frames')
        return (total / n_frames).astype(numpy.float32)

    @staticmethod
    def _sum(features):
        return chainer.backends.cuda.to_cpu(
            features.sum(axis=0, dtype=numpy.float64))

    def _check(self, chunk):
        if getattr(chunk, 'dtype', None) != numpy.uint8 \
                or chunk.ndim != 4 or chunk.shape[1] != N_COLOURS:
            raise ValueError(
                'frames must be uint8 (n_frames, 3, height, width), not {} {}'
                .format(getattr(chunk, 'dtype', type(chunk).__name__),
                        getattr(chunk, 'shape', '')))
        kernel = self.conv1_relu.conv.ksize
        if chunk.shape[2] < kernel[0] or chunk.shape[3] < kernel[1]:
            raise ValueError(
                'frames of {2}x{3} pixels (height x width) are smaller than '
                'the first kernel, {0}x{1}'.format(*kernel, *chunk.shape[2:]))
