"""The auditory stream (P 2.1): audio in, pooled features out."""

import chainer
import numpy

from chainer_impression.links.residual_stream import (
    N_FEATURES, ResidualStream)

#: Samples of a piece in which audio is taken through the stream, in units of
#: the stream's total stride: 320 * 1024 samples are 20.5 s, so that a clip of
#: the challenge goes through in one piece (P 2.3), a longer one in several.
_PIECE = 320


def unfold(n):
    """The paper's n x n as the ear has it: 1 x n**2."""
    return 1, n * n


class AuditoryStream(ResidualStream):
    """A :class:`ResidualStream` over audio of (N, 1, 1, n_samples).

    Values are float32 in [-1, 1] at 16 kHz, as decoded (R).
    """

    def __init__(self):
        super().__init__(unfold, 1)
        self._piece = _PIECE

    def extract_features(self, audio):
        """Pooled features of a whole clip's audio (P 2.3).

        The stream has no layer that sees more than a stretch of audio, so a
        long clip can go through in overlapping pieces: of each piece only
        those columns of the last feature map are kept that the piece's ends
        do not reach. The columns, and so the average over them, are those of
        one piece, and memory does not grow with the clip.

        Args:
            audio: float32 (n_samples,) in [-1, 1], 16 kHz. Any length.

        Returns:
            numpy.ndarray: float32 (256,).

        Raises:
            ValueError: the audio has another shape, holds no sample as long
                as the first kernel, or holds values that are not finite.
        """
        audio = numpy.asarray(audio, dtype=numpy.float32)
        if audio.ndim != 1:
            raise ValueError('audio must be (n_samples,), not {}'.format(
                audio.shape))
        kernel = self.conv1_relu.conv.ksize[1]
        if len(audio) < kernel:
            raise ValueError(
                'audio of {} samples is shorter than the first kernel, {}'
                .format(len(audio), kernel))
        if not numpy.isfinite(audio).all():
            raise ValueError('audio holds values that are not finite')
        total, n_columns = numpy.zeros(N_FEATURES), 0
        with chainer.using_config('train', False), chainer.no_backprop_mode():
            for start, stop, kept in self._pieces(len(audio)):
                x = self.device.send(audio[None, None, None, start:stop])
                maps = self.feature_maps(x).array[0, :, 0, kept]
                total += chainer.backends.cuda.to_cpu(
                    maps.sum(axis=1, dtype=numpy.float64))
                n_columns += maps.shape[1]
        return (total / n_columns).astype(numpy.float32)

    def _pieces(self, n_samples):
        """Cut audio so that no column of the last feature map is lost.

        Yields:
            tuple: (first sample, end sample, slice of the columns to keep).
        """
        stride, margin = self._geometry()
        n_pieces = max(1, -(-n_samples // (self._piece * stride)))
        for i in range(n_pieces):
            # In columns of the last feature map, stride samples apart.
            first, last = i * self._piece, (i + 1) * self._piece
            before = min(first, margin)
            start = (first - before) * stride
            if i == n_pieces - 1:
                yield start, n_samples, slice(before, None)
            else:
                yield (start, min(n_samples, (last + margin) * stride),
                       slice(before, before + self._piece))

    def _geometry(self):
        """Total stride in samples, and how far, in columns, an end reaches."""
        reach, stride = 0, 1
        for layer in self._layers():
            ksize, step = layer['ksize'][1], layer['stride'][1]
            reach += (ksize - 1) * stride
            stride *= step
        return stride, -(-reach // stride)

    def _layers(self):
        conv1 = self.conv1_relu
        yield dict(ksize=conv1.conv.ksize, stride=conv1.conv.stride)
        yield conv1.pooling
        for block in self.blocks()[1:]:
            for conv in (block.res_branch2a, block.res_branch2b):
                yield dict(ksize=conv.ksize, stride=conv.stride)
