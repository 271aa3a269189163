"""The one idea that the paper applies twice, to the eye and to the ear.

P, section 2.1: each stream is a ResNet-18 without its last layer and with half
of its kernels; the auditory stream is the visual one with every n x n kernel,
stride or input turned into a 1 x n**2 one. The streams differ in nothing but
that rule, so it is the argument here, and no block is written twice.
"""

import chainer
import chainer.functions as F

from chainer_impression.functions import max_pooling_2d, relu
from chainer_impression.links.fast_links import (
    BatchNormalization, Convolution2D)

#: Kernels of the first convolution and of the four stages of residual blocks.
N_KERNELS = (32, 32, 64, 128, 256)

#: Length of the pooled features of one stream (P 2.1).
N_FEATURES = N_KERNELS[-1]


def _convolution(unfold, n_in, n_out, ksize, stride=1, pad=0):
    # He et al. initialisation, zero biases (R).
    return Convolution2D(
        n_in, n_out, unfold(ksize), unfold(stride), unfold_pad(unfold, pad),
        initialW=chainer.initializers.HeNormal(), initial_bias=0)


def unfold_pad(unfold, pad):
    """The padding that belongs to a kernel under the rule ``unfold``.

    A pad is no length of its own but half a kernel: 3 goes with 7 x 7, so 24
    goes with 1 x 49; 1 goes with 3 x 3, so 4 goes with 1 x 9.

    Args:
        unfold: the stream's rule, ``n -> (height, width)``.
        pad (int): padding in the paper's n, half of an odd kernel.

    Returns:
        tuple of int: padding as (height, width).
    """
    return tuple(n // 2 for n in unfold(2 * pad + 1))


class ConvolutionBlock(chainer.Chain):
    """Convolution, batch normalisation, ReLU, max pooling (P 2.1, R).

    Args:
        unfold: the stream's rule, ``n -> (height, width)``.
        n_in (int): channels of the input.
        n_out (int): number of kernels.
    """

    def __init__(self, unfold, n_in, n_out):
        super().__init__()
        self.pooling = dict(
            ksize=unfold(3), stride=unfold(2), pad=unfold_pad(unfold, 1))
        with self.init_scope():
            self.conv = _convolution(unfold, n_in, n_out, 7, stride=2, pad=3)
            self.bn_conv = BatchNormalization(n_out)

    def forward(self, x):
        h = relu(self.bn_conv(self.conv(x)))
        # Chainer's default cover_all=True: 112 x 112 becomes 57 x 57.
        return max_pooling_2d(h, **self.pooling)


class ResidualBlock(chainer.Chain):
    """Two convolutions and a shortcut around them (P 2.1).

    The shortcut is the identity, or a 1 x 1 convolution with batch
    normalisation where the block changes the shape.

    Args:
        unfold: the stream's rule, ``n -> (height, width)``.
        n_in (int): channels of the input.
        n_out (int): number of kernels.
        stride (int): the paper's stride of the first convolution, 1 or 2.
    """

    def __init__(self, unfold, n_in, n_out, stride=1):
        super().__init__()
        with self.init_scope():
            self.res_branch2a = _convolution(
                unfold, n_in, n_out, 3, stride, pad=1)
            self.bn_branch2a = BatchNormalization(n_out)
            self.res_branch2b = _convolution(unfold, n_out, n_out, 3, pad=1)
            self.bn_branch2b = BatchNormalization(n_out)
            if n_in != n_out or stride != 1:
                self.res_branch1 = _convolution(unfold, n_in, n_out, 1, stride)
                self.bn_branch1 = BatchNormalization(n_out)

    def forward(self, x):
        h = relu(self.bn_branch2a(self.res_branch2a(x)))
        h = self.bn_branch2b(self.res_branch2b(h))
        return relu(h + self.shortcut(x))

    def shortcut(self, x):
        if hasattr(self, 'res_branch1'):
            return self.bn_branch1(self.res_branch1(x))
        return x


class ResidualStream(chainer.Chain):
    """One stream: an array of sound or of pictures in, pooled features out.

    Args:
        unfold: ``n -> (height, width)``, what the paper's n x n is here.
        n_channels (int): channels of the input.
    """

    def __init__(self, unfold, n_channels):
        super().__init__()
        self.unfold = unfold
        self.n_channels = n_channels
        n1, n2, n3, n4, n5 = N_KERNELS
        with self.init_scope():
            self.conv1_relu = ConvolutionBlock(unfold, n_channels, n1)
            self.res2a_relu = ResidualBlock(unfold, n2, n2)
            self.res2b_relu = ResidualBlock(unfold, n2, n2)
            self.res3a_relu = ResidualBlock(unfold, n2, n3, stride=2)
            self.res3b_relu = ResidualBlock(unfold, n3, n3)
            self.res4a_relu = ResidualBlock(unfold, n3, n4, stride=2)
            self.res4b_relu = ResidualBlock(unfold, n4, n4)
            self.res5a_relu = ResidualBlock(unfold, n4, n5, stride=2)
            self.res5b_relu = ResidualBlock(unfold, n5, n5)

    def blocks(self):
        """The nine blocks in the order in which they are applied."""
        return list(self.children())

    def feature_maps(self, x):
        """What the last block gives.

        Args:
            x: float32 (N, n_channels, height, width).

        Returns:
            chainer.Variable: float32 (N, 256, height', width').
        """
        for block in self.blocks():
            x = block(x)
        return x

    def forward(self, x):
        """The stream's half of the paper's layer 5: global average pooling.

        Args:
            x: float32 (N, n_channels, height, width).

        Returns:
            chainer.Variable: float32 (N, 256).
        """
        return F.mean(self.feature_maps(x), axis=(2, 3))
