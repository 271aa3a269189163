"""The auditory stream (P 2.1): audio in, pooled features out."""

import chainer

from chainer_impression.links.residual_stream import ResidualStream
from chainer_impression.whole_clip import PIECE, pool_audio


def unfold(n):
    """The paper's n x n as the ear has it: 1 x n**2."""
    return 1, n * n


class AuditoryStream(ResidualStream):
    """A :class:`ResidualStream` over audio of (N, 1, 1, n_samples).

    Values are float32 in [-1, 1] at 16 kHz, as decoded (R).
    """

    def __init__(self):
        super().__init__(unfold, 1)
        self._piece = PIECE

    def extract_features(self, audio):
        """Pooled features of a whole clip's audio (P 2.3).

        A long clip goes through in overlapping pieces, with the result of one
        piece; see :func:`chainer_impression.whole_clip.pool_audio`.

        Args:
            audio: float32 (n_samples,) in [-1, 1], 16 kHz. Any length.

        Returns:
            numpy.ndarray: float32 (256,).

        Raises:
            ValueError: the audio has another shape, holds no sample as long
                as the first kernel, or holds values that are not finite.
        """
        with chainer.using_config('train', False), chainer.no_backprop_mode():
            return pool_audio(audio, self._columns, **self.geometry())

    def _columns(self, audio):
        x = self.device.send(audio[None, None, None])
        return chainer.backends.cuda.to_cpu(
            self.feature_maps(x).array[0, :, 0])

    def geometry(self):
        """How audio may be cut into pieces.

        Returns:
            dict: ``kernel`` and ``stride`` in samples, ``margin`` and
            ``piece`` in columns of the last feature map; see
            :func:`chainer_impression.whole_clip.pool_audio`.
        """
        reach, stride = 0, 1
        for layer in self._layers():
            ksize, step = layer['ksize'][1], layer['stride'][1]
            reach += (ksize - 1) * stride
            stride *= step
        return {'kernel': self.conv1_relu.conv.ksize[1], 'stride': stride,
                'margin': -(-reach // stride), 'piece': self._piece}

    def _layers(self):
        conv1 = self.conv1_relu
        yield dict(ksize=conv1.conv.ksize, stride=conv1.conv.stride)
        yield conv1.pooling
        for block in self.blocks()[1:]:
            for conv in (block.res_branch2a, block.res_branch2b):
                yield dict(ksize=conv.ksize, stride=conv.stride)
