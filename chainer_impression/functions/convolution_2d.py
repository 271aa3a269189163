"""Two-dimensional convolution as products of tiles that fit a core's cache."""
import chainer
import chainer.functions as F
import numpy as np
from chainer.functions.connection import convolution_2d as chainer_convolution
from chainer.utils import argument

from chainer_impression.functions import fast_cpu

# Floats in a tile's column matrix: 1 MiB, about the second-level cache of a core.
_TILE_FLOATS = 2 ** 18
# Columns of a tile at least: below it, adding up the weight gradient costs as much as computing it.
_TILE_COLUMNS = 512


def _tiles(n0, n1, out_h, out_w, rows):
    """Cuts the outputs of the samples [n0:n1] into boxes.

    A box is several whole samples, several whole rows of one sample, or a part of one row (a sound has one long row).

    Args:
        n0, n1 (int): Range of samples.
        out_h, out_w (int): Size of the output.
        rows (int): Rows of the column matrix, channels * kernel height * kernel width.

    Yields:
        (int, int, int, int, int, int): Start and end of the samples, the rows and the columns.
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
                yield n, min(n + n_step, n1), r, min(r + r_step, out_h), c, min(c + c_step, out_w)


def _columns(tile):
    n0, n1, r0, r1, c0, c1 = tile
    return (n1 - n0) * (r1 - r0) * (c1 - c0)


class Convolution2DFunction(chainer_convolution.Convolution2DFunction):
    """Chainer's convolution, with a forward and a backward pass of its own for float32 NumPy arrays.

    Both passes work tile by tile: gather what the kernel sees into a small column matrix, multiply, and scatter.
    """

    def _forward_cpu_core(self, x, W, b):
        if self._use_ideep or not fast_cpu.is_fast(x, W, b):
            return super()._forward_cpu_core(x, W, b)
        fast_cpu.refuse_empty(x)
        kernels = fast_cpu.engine().kernels
        x = fast_cpu.ready(x)
        out_c, (kh, kw) = len(W), W.shape[2:]
        out_h, out_w = self._get_out_size(x.shape, W.shape)
        y = np.empty((len(x), out_c, out_h, out_w), np.float32)
        W = W.reshape(out_c, -1)
        window = kh, kw, self.sy, self.sx, self.ph, self.pw, self.dy, self.dx
        tiles = [tile for start, end in fast_cpu.share(len(x))
                 for tile in _tiles(start, end, out_h, out_w, W.shape[1])]

        def forward(start, end):
            largest = max(map(_columns, tiles[start:end]))
            column_buffer = np.empty(W.shape[1] * largest, np.float32)
            y_buffer = np.empty(out_c * largest, np.float32)
            for tile in tiles[start:end]:
                n0, n1, r0, r1, c0, c1 = tile
                size = _columns(tile)
                column = column_buffer[:W.shape[1] * size].reshape(-1, size)
                y_tile = y_buffer[:out_c * size].reshape(-1, size)
                kernels.gather(x, *tile, *window, column)
                np.matmul(W, column, out=y_tile)
                y_tile = y_tile.reshape(out_c, n1 - n0, r1 - r0, c1 - c0).swapaxes(0, 1)
                if b is None:
                    y[n0:n1, :, r0:r1, c0:c1] = y_tile
                else:
                    np.add(y_tile, b[:, None, None], out=y[n0:n1, :, r0:r1, c0:c1])

        fast_cpu.run(forward, len(tiles))
        return y,

    def backward(self, indexes, grad_outputs):
        x, W = (variable.array for variable in self.get_retained_inputs())
        gy = grad_outputs[0].array
        # A gradient that shall itself be differentiated is Chainer's to compute.
        if (chainer.config.enable_backprop or self._use_ideep or self.groups > 1
                or not fast_cpu.is_fast(x, W, gy)):
            return super().backward(indexes, grad_outputs)
        kernels = fast_cpu.engine().kernels
        x = fast_cpu.ready(x)
        out_c, (kh, kw) = len(W), W.shape[2:]
        out_h, out_w = gy.shape[2:]
        W_shape, W = W.shape, W.reshape(out_c, -1)
        window = kh, kw, self.sy, self.sx, self.ph, self.pw, self.dy, self.dx
        gx = np.zeros_like(x) if 0 in indexes else None

        def backward(start, end):
            """Writes the input's gradient for the samples [start:end], returns their part of the parameters'."""
            tiles = list(_tiles(start, end, out_h, out_w, W.shape[1]))
            largest = max(map(_columns, tiles))
            column_buffer = np.empty(W.shape[1] * largest, np.float32)
            gy_buffer = np.empty(out_c * largest, np.float32)
            gW = np.zeros_like(W) if 1 in indexes else None
            gb = np.zeros(out_c, np.float32) if 2 in indexes else None
            product = np.empty_like(W) if 1 in indexes else None
            for tile in tiles:
                n0, n1, r0, r1, c0, c1 = tile
                size = _columns(tile)
                column = column_buffer[:W.shape[1] * size].reshape(-1, size)
                gy_tile = gy_buffer[:out_c * size].reshape(-1, size)
                np.copyto(gy_tile.reshape(out_c, n1 - n0, r1 - r0, c1 - c0),
                          gy[n0:n1, :, r0:r1, c0:c1].swapaxes(0, 1))
                if gb is not None:
                    gb += gy_tile.sum(axis=1)
                if gW is not None:
                    kernels.gather(x, *tile, *window, column)
                    np.matmul(gy_tile, column.T, out=product)
                    gW += product
                if gx is not None:
                    np.matmul(W.T, gy_tile, out=column)
                    kernels.scatter_add(column, *tile, *window, gx)
            return gW, gb

        parts = fast_cpu.run(backward, len(x))
        gW, gb = parts[0]
        for gW_part, gb_part in parts[1:]:
            if gW is not None:
                gW += gW_part
            if gb is not None:
                gb += gb_part
        gradients = gx, None if gW is None else gW.reshape(W_shape), gb
        return tuple(chainer.Variable(gradients[i], requires_grad=False) for i in indexes)


def convolution_2d(x, W, b=None, stride=1, pad=0, cover_all=False, **kwargs):
    """:func:`chainer.functions.convolution_2d`, faster on the CPU.

    Args:
        x: Input, float32 (samples, channels, height, width). Variable or array, like the next two.
        W: Weights, float32 (kernels, channels, kernel height, kernel width).
        b: Biases, float32 (kernels,), or None.
        stride, pad (int or pair of ints): Vertical and horizontal.
        cover_all (bool): Whether every input is seen, if need be by a window that runs over the padding.
        **kwargs: ``dilate``, ``groups``, ``cudnn_fast``, as Chainer has them.

    Returns:
        chainer.Variable: float32 (samples, kernels, out height, out width).

    Raises:
        ValueError: If ``x`` is empty.
    """
    if not fast_cpu.is_fast(chainer.as_array(x)):
        return F.convolution_2d(x, W, b, stride, pad, cover_all, **kwargs)
    dilate, groups, cudnn_fast = argument.parse_kwargs(kwargs, ('dilate', 1), ('groups', 1), ('cudnn_fast', False))
    function = Convolution2DFunction(stride, pad, cover_all, dilate=dilate, groups=groups, cudnn_fast=cudnn_fast)
    return function.apply((x, W) if b is None else (x, W, b))[0]
