"""The same network in PyTorch, to compare with; the library does not use it.

Parameter paths are Chainer's with dots for slashes, so that the weights of one
are the weights of the other.
"""

import numpy

from benchmarks.measure import Missing
from chainer_impression.links.auditory_stream import unfold as unfold_audio
from chainer_impression.links.residual_stream import (
    N_FEATURES, N_KERNELS, unfold_pad)
from chainer_impression.links.visual_stream import (
    N_COLOURS, unfold as unfold_frames)
from chainer_impression.traits import TRAITS
from chainer_impression.whole_clip import pool_audio, pool_frames

try:
    import torch
    from torch import nn
    from torch.nn import functional as F
except ImportError as error:
    raise Missing(
        'PyTorch cannot be imported here ({}), so it is not compared with; '
        '"pip install torch --index-url https://download.pytorch.org/whl/cpu" '
        'installs it'.format(error)) from error

#: Frames that go through the network at once when a clip is predicted.
CHUNK = 16

#: Chainer's name of a parameter, PyTorch's name of the same.
_NAMES = {'W': 'weight', 'b': 'bias', 'gamma': 'weight', 'beta': 'bias',
          'avg_mean': 'running_mean', 'avg_var': 'running_var'}


def _convolution(unfold, n_in, n_out, ksize, stride=1, pad=0):
    return nn.Conv2d(n_in, n_out, unfold(ksize), unfold(stride),
                     unfold_pad(unfold, pad))


def _normalization(n):
    # Chainer's eps 2e-5; its decay of 0.9 is a momentum of 0.1 here.
    return nn.BatchNorm2d(n, eps=2e-5, momentum=0.1)


class ConvolutionBlock(nn.Module):
    """Convolution, batch normalisation, ReLU, max pooling."""

    def __init__(self, unfold, n_in, n_out):
        super().__init__()
        self.conv = _convolution(unfold, n_in, n_out, 7, 2, 3)
        self.bn_conv = _normalization(n_out)
        # ceil_mode gives what Chainer's cover_all gives for these kernels:
        # 112 x 112 becomes 57 x 57.
        self.pooling = nn.MaxPool2d(
            unfold(3), unfold(2), unfold_pad(unfold, 1), ceil_mode=True)

    def forward(self, x):
        return self.pooling(F.relu(self.bn_conv(self.conv(x)), inplace=True))


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut around them."""

    def __init__(self, unfold, n_in, n_out, stride=1):
        super().__init__()
        self.res_branch2a = _convolution(unfold, n_in, n_out, 3, stride, 1)
        self.bn_branch2a = _normalization(n_out)
        self.res_branch2b = _convolution(unfold, n_out, n_out, 3, 1, 1)
        self.bn_branch2b = _normalization(n_out)
        self.has_shortcut = n_in != n_out or stride != 1
        if self.has_shortcut:
            self.res_branch1 = _convolution(unfold, n_in, n_out, 1, stride)
            self.bn_branch1 = _normalization(n_out)

    def forward(self, x):
        h = F.relu(self.bn_branch2a(self.res_branch2a(x)), inplace=True)
        h = self.bn_branch2b(self.res_branch2b(h))
        if self.has_shortcut:
            x = self.bn_branch1(self.res_branch1(x))
        return F.relu(h + x, inplace=True)


class Stream(nn.Sequential):
    """One stream, up to its last feature map."""

    def __init__(self, unfold, n_channels):
        super().__init__()
        self.add_module('conv1_relu', ConvolutionBlock(
            unfold, n_channels, N_KERNELS[0]))
        n_in = N_KERNELS[0]
        for stage, n_out in enumerate(N_KERNELS[1:], 2):
            for block, stride in (('a', 1 if n_out == n_in else 2), ('b', 1)):
                self.add_module(
                    'res{}{}_relu'.format(stage, block),
                    ResidualBlock(unfold, n_in, n_out, stride))
                n_in = n_out


class AudiovisualNetwork(nn.Module):
    """Chainer's ``AudiovisualStream``, layer for layer.

    Args:
        weights: an npz file of Chainer's.
    """

    def __init__(self, weights):
        super().__init__()
        self.aud = Stream(unfold_audio, 1)
        self.vis = Stream(unfold_frames, N_COLOURS)
        self.fc = nn.Linear(2 * N_FEATURES, len(TRAITS))
        with numpy.load(weights) as file:
            state = {_torch_name(name): torch.from_numpy(file[name])
                     for name in file.files if not name.endswith('/N')}
        counters = [name for name in self.state_dict()
                    if name.endswith('num_batches_tracked')]
        state.update((name, torch.tensor(0)) for name in counters)
        self.load_state_dict(state)

    def forward(self, audio, frames):
        """Float32 (N, 1, 1, n_samples), (N, 3, height, width) -> (N, 5)."""
        return self.traits(torch.cat((
            self.aud(audio).mean((2, 3)), self.vis(frames).mean((2, 3))), 1))

    def traits(self, features):
        return (torch.tanh(self.fc(features)) + 1) / 2


def _torch_name(name):
    *path, last = name.split('/')
    return '.'.join([*path, _NAMES[last]])


class TorchPredictor:
    """Predicts whole clips, with the methods of an engine.

    Args:
        model (AudiovisualNetwork): a trained network.
        geometry (dict): see ``AuditoryStream.geometry``.
    """

    def __init__(self, model, geometry):
        self._model = model.eval()
        self._geometry = geometry

    def extract_features(self, audio, frames):
        kernel = self._model.vis.conv1_relu.conv.kernel_size
        return numpy.concatenate((
            pool_audio(audio, self._columns, **self._geometry),
            pool_frames(frames, self._features, kernel, CHUNK)))

    def predict(self, audio, frames):
        features = torch.from_numpy(self.extract_features(audio, frames))
        with torch.inference_mode():
            return self._model.traits(features).numpy()

    def _columns(self, audio):
        with torch.inference_mode():
            x = torch.from_numpy(audio)[None, None, None]
            return self._model.aud(x)[0, :, 0].numpy()

    def _features(self, frames):
        with torch.inference_mode():
            x = torch.from_numpy(frames.astype(numpy.float32, order='C'))
            return self._model.vis(x).mean((2, 3)).numpy()
