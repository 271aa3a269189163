"""The network (P 2.1): both streams, one fully-connected layer, the traits."""

import chainer
import chainer.functions as F
import chainer.links as L
import numpy

from chainer_impression.links.auditory_stream import AuditoryStream
from chainer_impression.links.residual_stream import N_FEATURES
from chainer_impression.links.visual_stream import VisualStream
from chainer_impression.traits import TRAITS


class AudiovisualStream(chainer.Chain):
    """The audiovisual deep residual network, 5,601,989 parameters.

    Parameter paths are those of the released implementation, so that
    ``chainer.serializers.load_npz`` reads its checkpoint unchanged.

    Args:
        n_traits (int): values that the network predicts, the five traits in
            the order of :data:`chainer_impression.traits.TRAITS` by default.
    """

    def __init__(self, n_traits=len(TRAITS)):
        super().__init__()
        with self.init_scope():
            self.aud = AuditoryStream()
            self.vis = VisualStream()
            self.fc = L.Linear(2 * N_FEATURES, n_traits)

    def for_trait(self, trait):
        """A network for one trait that begins with the weights of this one.

        Both streams are copied, running statistics too; the fully-connected
        layer has one output, with the weights that predict the trait here: at
        first it predicts what this network predicts.

        Args:
            trait (str): one of :data:`chainer_impression.traits.TRAITS`.

        Returns:
            AudiovisualStream: ``n_traits=1``. Both are on the CPU.
        """
        i = TRAITS.index(trait)
        model = AudiovisualStream(n_traits=1)
        model.aud.copyparams(self.aud)
        model.vis.copyparams(self.vis)
        model.fc.W.array[...] = self.fc.W.array[i:i + 1]
        model.fc.b.array[...] = self.fc.b.array[i:i + 1]
        return model

    def forward(self, audio, frames):
        """Predict the traits of a mini-batch of training examples.

        Args:
            audio: float32 (N, 1, 1, n_samples).
            frames: float32 (N, 3, height, width).

        Returns:
            chainer.Variable: float32 (N, n_traits) in [0, 1].
        """
        return self.traits(self.layer5(audio, frames))

    def layer5(self, audio, frames):
        """The paper's layer 5: pooled features, auditory then visual (R).

        Args:
            audio: float32 (N, 1, 1, n_samples).
            frames: float32 (N, 3, height, width).

        Returns:
            chainer.Variable: float32 (N, 512).
        """
        return F.concat((self.aud(audio), self.vis(frames)), axis=1)

    def traits(self, features):
        """Traits from layer-5 features: linear, tanh, scaled to [0, 1].

        Args:
            features: float32 (N, 512).

        Returns:
            chainer.Variable: float32 (N, n_traits) in [0, 1].
        """
        return (F.tanh(self.fc(features)) + 1) / 2

    def extract_features(self, audio, frames):
        """Layer-5 features of a whole clip, or of any stretch of one (P 2.3).

        Args:
            audio: float32 (n_samples,) in [-1, 1], 16 kHz.
            frames: uint8 (n_frames, 3, height, width), RGB, or an iterable of
                such chunks.

        Returns:
            numpy.ndarray: float32 (512,).

        Raises:
            ValueError: see the two streams' methods of the same name.
        """
        return numpy.concatenate((self.aud.extract_features(audio),
                                  self.vis.extract_features(frames)))

    def predict(self, audio, frames):
        """Predict the traits of a clip (P 2.3).

        Batch normalisation uses its running statistics, whatever
        ``chainer.config.train`` says. The link stays on its device; arrays
        come from the CPU and go back to it.

        Args:
            audio: float32 (n_samples,) in [-1, 1], 16 kHz.
            frames: uint8 (n_frames, 3, height, width), RGB, or an iterable of
                such chunks, so that a clip of any length fits in memory.

        Returns:
            numpy.ndarray: float32 (n_traits,) in [0, 1], in the order of
            :data:`chainer_impression.traits.TRAITS`.

        Raises:
            ValueError: see the two streams' ``extract_features``.
        """
        features = self.extract_features(audio, frames)
        with chainer.using_config('train', False), chainer.no_backprop_mode():
            traits = self.traits(self.device.send(features[None]))
        return chainer.backends.cuda.to_cpu(traits.array[0])
