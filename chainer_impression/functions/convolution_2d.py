"""Two-dimensional convolution as products of tiles that fit a cache."""

import chainer
import chainer.functions as F
import numpy as np
from chainer.functions.connection import (
    convolution_2d as chainer_convolution)
from chainer.utils import argument

from chainer_impression.functions import fast_cpu

# Floats in the column matrix of a tile: 1 MiB, about the second-level cache
# of a core.
_TILE_FLOATS = 2 ** 18
# Columns of a tile at least: with fewer, adding up the gradients of the
# weights takes as long as computing them.
_TILE_COLUMNS = 512


def _tiles(n0, n1, out_h, out_w, rows):
    """Cuts the outputs of the samples [n0:n1] into boxes.

    A box is several whole samples, several whole rows of one sample, or a part
    of one row, for a sound is one long row.

    Args:
        n0, n1 (int): range of samples.
        out_h, out_w (int): size of the output.
        rows (int): rows of the column matrix, channels * kernel height *
            kernel width.

    Yields:
        tuple of 6 ints: range of samples, of rows and of columns.
    """
    size = max(_TILE_FLOATS // rows, _TILE_COLUMNS)
    n_step, r_step, c_step = 1, 1, out_w
    if out_h * out_w <= size:
        n_step, r_step = size // (out_h * out_w), out_h
    elif out_w <= size:
        r_step = size // out_w
    else:
        c_step = size
    for n in range(n0, n1, n_step):
        for r in range(0, out_h, r_step):
            for c in range(0, out_w, c_step):
                yield (n, min(n + n_step, n1), r, min(r + r_step, out_h),
                       c, min(c + c_step, out_w))


def _columns(tile):
    n0, n1, r0, r1, c0, c1 = tile
    return (n1 - n0) * (r1 - r0) * (c1 - c0)


class _Buffers:
    """Memory for the largest of some tiles, used for one after the other."""

    def __init__(self, tiles, rows, kernels):
        size = max(map(_columns, tiles))
        self.rows, self.kernels = rows, kernels
        self.column = np.empty(rows * size, np.float32)
        self.output = np.empty(kernels * size, np.float32)

    def of(self, tile):
        """Returns the tile's column matrix, (rows, columns), and its output.

        The output comes twice: as a matrix, (kernels, columns), and the same
        memory as (samples, kernels, height, width).
        """
        n0, n1, r0, r1, c0, c1 = tile
        size = _columns(tile)
        column = self.column[:self.rows * size]
        output = self.output[:self.kernels * size]
        box = output.reshape(self.kernels, n1 - n0, r1 - r0, c1 - c0)
        return (column.reshape(self.rows, size),
                output.reshape(self.kernels, size), box.swapaxes(0, 1))


class Convolution2DFunction(chainer_convolution.Convolution2DFunction):
    """Chainer's convolution; its own passes for float32 in NumPy.

    Both passes go tile by tile: gather what the kernels see into a small
    column matrix, multiply, scatter.
    """

    def _window(self, W):
        return W.shape[2:] + (
            self.sy, self.sx, self.ph, self.pw, self.dy, self.dx)

    def _forward_cpu_core(self, x, W, b):
        if self._use_ideep or not fast_cpu.is_fast(x, W, b):
            return super()._forward_cpu_core(x, W, b)
        fast_cpu.refuse_empty(x)
        kernels = fast_cpu.engine().kernels
        x = fast_cpu.ready(x)
        out_h, out_w = self._get_out_size(x.shape, W.shape)
        y = np.empty((len(x), len(W), out_h, out_w), np.float32)
        window = self._window(W)
        W = W.reshape(len(W), -1)
        tiles = [tile for start, end in fast_cpu.share(len(x))
                 for tile in _tiles(start, end, out_h, out_w, W.shape[1])]

        def forward(start, end):
            buffers = _Buffers(tiles[start:end], W.shape[1], len(W))
            for tile in tiles[start:end]:
                n0, n1, r0, r1, c0, c1 = tile
                column, y_matrix, y_box = buffers.of(tile)
                kernels.gather(x, *tile, *window, column)
                np.matmul(W, column, out=y_matrix)
                target = y[n0:n1, :, r0:r1, c0:c1]
                if b is None:
                    target[...] = y_box
                else:
                    np.add(y_box, b[:, None, None], out=target)

        fast_cpu.run(forward, len(tiles))
        return y,

    def backward(self, indexes, grad_outputs):
        x, W = (variable.array for variable in self.get_retained_inputs())
        gy = grad_outputs[0].array
        # A gradient that is to be differentiated itself is Chainer's task.
        if (chainer.config.enable_backprop or self._use_ideep
                or self.groups > 1 or not fast_cpu.is_fast(x, W, gy)):
            return super().backward(indexes, grad_outputs)
        kernels = fast_cpu.engine().kernels
        x = fast_cpu.ready(x)
        window, W_shape = self._window(W), W.shape
        W = W.reshape(len(W), -1)
        gx = np.zeros_like(x) if 0 in indexes else None

        def backward(start, end):
            """Writes gx of the samples [start:end]; returns their gW, gb."""
            tiles = list(_tiles(start, end, *gy.shape[2:], W.shape[1]))
            buffers = _Buffers(tiles, W.shape[1], len(W))
            gW, product = np.zeros_like(W), np.empty_like(W)
            gb = np.zeros(len(W), np.float32)
            for tile in tiles:
                n0, n1, r0, r1, c0, c1 = tile
                column, gy_matrix, gy_box = buffers.of(tile)
                gy_box[...] = gy[n0:n1, :, r0:r1, c0:c1]
                if 1 in indexes:
                    kernels.gather(x, *tile, *window, column)
                    np.matmul(gy_matrix, column.T, out=product)
                    gW += product
                if 2 in indexes:
                    gb += gy_matrix.sum(axis=1)
                if 0 in indexes:
                    np.matmul(W.T, gy_matrix, out=column)
                    kernels.scatter_add(column, *tile, *window, gx)
            return gW, gb

        # Added up in the order of the samples, whoever finishes first.
        (gW, gb), *parts = fast_cpu.run(backward, len(x))
        for gW_part, gb_part in parts:
            gW += gW_part
            gb += gb_part
        gradients = gx, gW.reshape(W_shape), gb
        return tuple(chainer.Variable(gradients[i], requires_grad=False)
                     for i in indexes)


def convolution_2d(x, W, b=None, stride=1, pad=0, cover_all=False, **kwargs):
    """:func:`chainer.functions.convolution_2d`, faster on the CPU.

    Args:
        x: float32 (samples, channels, height, width); a variable or an array,
            like the next two.
        W: weights, float32 (kernels, channels, kernel height, kernel width).
        b: biases, float32 (kernels,), or None.
        stride, pad (int or pair of ints): vertical and horizontal.
        cover_all (bool): whether every input is seen, if need be by a kernel
            that runs over the padding.
        **kwargs: ``dilate``, ``groups``, ``cudnn_fast``, as Chainer has them.

    Returns:
        chainer.Variable: float32 (samples, kernels, out height, out width).

    Raises:
        ValueError: if ``x`` is empty.
    """
    if not fast_cpu.is_fast(chainer.as_array(x)):
        return F.convolution_2d(x, W, b, stride, pad, cover_all, **kwargs)
    dilate, groups, cudnn_fast = argument.parse_kwargs(
        kwargs, ('dilate', 1), ('groups', 1), ('cudnn_fast', False))
    function = Convolution2DFunction(
        stride, pad, cover_all, dilate=dilate, groups=groups,
        cudnn_fast=cudnn_fast)
    return function.apply((x, W) if b is None else (x, W, b))[0]
