"""Networks and clips that put a second implementation to the test."""

import os

import chainer_impression  # NOQA: F401  (makes Chainer importable)
import chainer.links as L
import numpy
from chainer_impression import AudiovisualStream

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

#: For processes of their own that are to find this project.
ENVIRONMENT = dict(os.environ, PYTHONPATH=os.pathsep.join(
    filter(None, [ROOT, os.environ.get('PYTHONPATH')])))


def trained_network(seed=0, scale=1.0):
    """A network with the look of a trained one.

    Biases and the statistics of batch normalisation are all different from
    what a network starts with; the traits of different clips differ.

    Args:
        seed (int): of the random values.
        scale (float): how much larger than at the start of a training the
            last layer's weights are.
    """
    random = numpy.random.RandomState(seed)
    model = AudiovisualStream()
    for link in model.links():
        if isinstance(link, L.Convolution2D):
            n_inputs = numpy.prod(link.W.shape[1:])
            link.W.array[...] = random.normal(
                0, numpy.sqrt(2 / n_inputs), link.W.shape)
            link.b.array[...] = random.normal(0, 0.2, link.b.shape)
        elif isinstance(link, L.BatchNormalization):
            n = len(link.avg_mean)
            link.gamma.array[...] = random.uniform(0.3, 1.2, n)
            link.beta.array[...] = random.normal(0, 0.3, n)
            link.avg_mean[...] = random.normal(0, 1, n)
            link.avg_var[...] = random.uniform(0.5, 3, n)
    # The first layer of the eye sees 0 to 255.
    model.vis.conv1_relu.bn_conv.avg_var[...] *= 2e4
    model.fc.W.array[...] = random.normal(
        0, 0.01 * scale, model.fc.W.shape)
    model.fc.b.array[...] = random.normal(0, 0.2, model.fc.b.shape)
    return model


def noise(n_samples, n_frames, height, width, seed=0):
    """Sound and pictures of a clip that no two models agree on by accident."""
    random = numpy.random.RandomState(seed)
    audio = random.uniform(-1, 1, n_samples).astype(numpy.float32)
    frames = random.randint(
        0, 256, (n_frames, 3, height, width)).astype(numpy.uint8)
    return audio, frames
