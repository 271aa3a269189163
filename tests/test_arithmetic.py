"""The network once more, in plain NumPy, written from the paper alone.

Nothing here knows the library but for the names in its files of weights:
convolutions are sums of products over windows, in double precision.
"""

import chainer
import numpy
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from chainer_impression import AudiovisualStream

EPS = 2e-5


# --- the paper's network -----------------------------------------------------

def windows(x, kernel, stride):
    """Every window of (N, C, H, W), as (N, C, H', W', *kernel)."""
    return sliding_window_view(x, kernel, axis=(2, 3))[
        :, :, ::stride[0], ::stride[1]]


def convolve(x, W, b, stride, pad):
    x = numpy.pad(x, ((0, 0), (0, 0), (pad[0],) * 2, (pad[1],) * 2))
    y = numpy.tensordot(windows(x, W.shape[2:], stride), W,
                        axes=((1, 4, 5), (1, 2, 3)))
    return y.transpose(0, 3, 1, 2) + b[:, None, None]


def pool(x, kernel, stride, pad):
    """The greatest of each window; the last may reach beyond the end."""
    widths = [(0, 0), (0, 0)]
    for n, k, s, p in zip(x.shape[2:], kernel, stride, pad):
        n_windows = int(numpy.ceil((n + 2 * p - k) / s)) + 1
        widths.append((p, (n_windows - 1) * s + k - n - p))
    x = numpy.pad(x, widths, constant_values=-numpy.inf)
    return windows(x, kernel, stride).max(axis=(4, 5))


def relu(x):
    return numpy.maximum(x, 0)


class Stream:
    """``unfold`` turns the paper's n into the size of a kernel or stride."""

    def __init__(self, weights, name, unfold, batch_statistics=False):
        self.weights, self.name, self.unfold = weights, name, unfold
        self.batch_statistics = batch_statistics

    def get(self, *path):
        return self.weights['/'.join((self.name, *path))].astype('f8')

    def half(self, n):
        return tuple(side // 2 for side in self.unfold(n))

    def convolution(self, x, path, n, stride=1):
        return convolve(x, self.get(*path, 'W'), self.get(*path, 'b'),
                        self.unfold(stride), self.half(n))

    def normalization(self, x, path):
        if self.batch_statistics:
            mean, variance = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))
        else:
            mean, variance = self.get(*path, 'avg_mean'), self.get(
                *path, 'avg_var')
        scale = self.get(*path, 'gamma') / numpy.sqrt(variance + EPS)
        return (x - mean[:, None, None]) * scale[:, None, None] + \
            self.get(*path, 'beta')[:, None, None]

    def block(self, x, name, stride, changes_shape):
        y = self.convolution(x, (name, 'res_branch2a'), 3, stride)
        y = relu(self.normalization(y, (name, 'bn_branch2a')))
        y = self.convolution(y, (name, 'res_branch2b'), 3)
        y = self.normalization(y, (name, 'bn_branch2b'))
        if changes_shape:
            x = self.convolution(x, (name, 'res_branch1'), 1, stride)
            x = self.normalization(x, (name, 'bn_branch1'))
        return relu(y + x)

    def __call__(self, x):
        x = self.convolution(x.astype('f8'), ('conv1_relu', 'conv'), 7, 2)
        x = relu(self.normalization(x, ('conv1_relu', 'bn_conv')))
        x = pool(x, self.unfold(3), self.unfold(2), self.half(3))
        for stage in '2345':
            changes = stage != '2'
            x = self.block(
                x, 'res' + stage + 'a_relu', 2 if changes else 1, changes)
            x = self.block(x, 'res' + stage + 'b_relu', 1, False)
        return x.mean(axis=(2, 3))


def layer5_of(weights, audio, frames, **keywords):
    """(N, 1, 1, n_samples) and (N, 3, h, w) to the features of each."""
    return (Stream(weights, 'aud', lambda n: (1, n * n), **keywords)(audio),
            Stream(weights, 'vis', lambda n: (n, n), **keywords)(frames))


def traits_of(weights, features):
    y = features @ weights['fc/W'].astype('f8').T + weights['fc/b']
    return (numpy.tanh(y) + 1) / 2


# --- compared with the library's ---------------------------------------------

def a_network(tmp_path, trained):
    """A network, and its weights read back from the file."""
    random = numpy.random.RandomState(1)
    network = AudiovisualStream()
    path = str(tmp_path / 'weights.npz')
    chainer.serializers.save_npz(path, network)
    with numpy.load(path) as file:
        weights = dict(file)
    for name, value in weights.items():
        kind = name.split('/')[-1]
        if trained and kind in ('gamma', 'avg_var'):
            weights[name] = random.uniform(0.5, 1.5, value.shape)
        elif trained and kind in ('beta', 'b'):
            weights[name] = random.normal(0, 0.3, value.shape)
        elif trained and kind == 'avg_mean':
            weights[name] = random.normal(0, 0.5, value.shape)
        elif kind == 'W':
            weights[name] = random.normal(0, value.std(), value.shape)
    if trained:
        # As after training on pixels of 0 to 255.
        weights['vis/conv1_relu/bn_conv/avg_var'] = numpy.full(32, 1e4)
    weights = {name: value if name.endswith('/N') else value.astype('f4')
               for name, value in weights.items()}
    numpy.savez(path, **weights)
    chainer.serializers.load_npz(path, network)
    return network, weights


def an_input(n_samples, n_frames, height, width):
    random = numpy.random.RandomState(n_samples)
    return (random.uniform(-1, 1, n_samples).astype(numpy.float32),
            random.randint(0, 256, (n_frames, 3, height, width)).astype('u1'))


@pytest.mark.parametrize('trained', [False, True])
@pytest.mark.parametrize('sizes', [
    (3200, 2, 32, 32), (2049, 3, 21, 47), (1537, 1, 8, 30), (49, 1, 7, 7)])
def test_predict(tmp_path, trained, sizes):
    network, weights = a_network(tmp_path, trained)
    audio, frames = an_input(*sizes)
    heard, seen = layer5_of(weights, audio[None, None, None], frames)
    features = numpy.concatenate((heard[0], seen.mean(axis=0)))
    # So that the output lies where tanh is steep.
    network.fc.W.array /= abs(features @ network.fc.W.array.T).max()
    weights['fc/W'] = network.fc.W.array

    got = network.extract_features(audio, frames)
    numpy.testing.assert_allclose(
        got, features, rtol=1e-4, atol=1e-5 * abs(features).max())
    traits = network.predict(audio, frames)
    numpy.testing.assert_allclose(
        traits, traits_of(weights, features), rtol=0, atol=1e-5)
    assert traits.std() > 0.05


def test_training_pass(tmp_path):
    network, weights = a_network(tmp_path, trained=True)
    random = numpy.random.RandomState(2)
    audio = random.uniform(-1, 1, (3, 1, 1, 2500)).astype(numpy.float32)
    frames = random.uniform(0, 255, (3, 3, 32, 41)).astype(numpy.float32)
    features = numpy.concatenate(
        layer5_of(weights, audio, frames, batch_statistics=True), axis=1)
    with chainer.using_config('train', True):
        got = network.layer5(audio, frames)
        traits = network.traits(got)
    numpy.testing.assert_allclose(
        got.array, features, rtol=1e-3, atol=1e-4 * abs(features).max())
    numpy.testing.assert_allclose(
        traits.array, traits_of(weights, features), rtol=0, atol=1e-3)
