"""The Numba kernels behind the fast NumPy path.

To be imported through ``fast_cpu.engine()`` only. Every kernel takes
C-contiguous float32 arrays, works on a range of samples, channels or planes,
releases Python's global lock and is compiled on first use, for which Numba
keeps a cache on disk.

An index that may be negative costs Numba a test at each access, and the
compiler its vector instructions. So the inner loops run over slices from zero
or, where the slice of a short row would cost more than the row, over unsigned
indexes.
"""

import numba
import numpy as np

# Sums may be reordered so that they vectorise. Not the whole 'fast' set: NaN
# and infinity must come through.
_REORDER = {'reassoc', 'contract', 'nsz'}
# Elements added in float32 before they go on to a float64 total.
_BLOCK = 4096

_unsigned = np.uintp


def _kernel(function):
    options = dict(nogil=True, fastmath=_REORDER, error_model='numpy')
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:
        # No folder for the cache is writable: compiled anew in each process.
        return numba.njit(**options)(function)


@_kernel
def self_test():
    """Raises whatever is wrong with Numba on this machine."""
    return 0


@_kernel
def _copy_rows(source, at, row, target, to, rows, columns):
    """Copies rows that lie ``row`` apart to where they lie side by side."""
    for r in range(rows):
        s, t = at + r * row, to + r * columns
        for c in range(columns):
            target[t + c] = source[s + c]


@_kernel
def _add_rows(source, at, target, to, row, rows, columns):
    """Adds rows that lie side by side to rows that lie ``row`` apart."""
    for r in range(rows):
        s, t = at + r * columns, to + r * row
        for c in range(columns):
            target[t + c] += source[s + c]


@_kernel
def _split_row(source, at, length, left, padding, target, to, stride,
               columns):
    """Sorts the elements of a row by their place in the stride.

    The row is ``source[at:at + length]`` with padding on both sides. Its
    element ``left + c * stride + phase`` goes to ``target[to + phase * columns
    + c]``.
    """
    step = _unsigned(stride)
    for phase in range(stride):
        first = left + phase
        begin = min(max(-(first // stride), 0), columns)
        end = max(min((length - 1 - first) // stride + 1, columns), begin)
        s, t = _unsigned(at + first), _unsigned(to + phase * columns)
        for c in range(_unsigned(begin)):
            target[t + c] = padding
        if stride == 1:
            for c in range(_unsigned(begin), _unsigned(end)):
                target[t + c] = source[s + c]
        else:
            for c in range(_unsigned(begin), _unsigned(end)):
                target[t + c] = source[s + c * step]
        for c in range(_unsigned(end), _unsigned(columns)):
            target[t + c] = padding


@_kernel
def _add_split_row(source, at, stride, columns, left, length, target, to):
    """Adds a row sorted by ``_split_row`` to ``target[to:to + length]``.

    What came from the padding is dropped.
    """
    step = _unsigned(stride)
    for phase in range(stride):
        first = left + phase
        begin = min(max(-(first // stride), 0), columns)
        end = max(min((length - 1 - first) // stride + 1, columns), begin)
        s, t = _unsigned(at + phase * columns), _unsigned(to + first)
        if stride == 1:
            for c in range(_unsigned(begin), _unsigned(end)):
                target[t + c] += source[s + c]
        else:
            for c in range(_unsigned(begin), _unsigned(end)):
                target[t + c * step] += source[s + c]


@_kernel
def gather(x, n0, n1, r0, r1, c0, c1, kh, kw, sy, sx, ph, pw, dy, dx, column):
    """Copies what a convolution sees of a tile: im2col.

    Args:
        x: input, (samples, channels, height, width).
        n0, n1, r0, r1, c0, c1 (int): the tile: ranges of samples, of the
            output's rows and of its columns.
        kh, kw, sy, sx, ph, pw, dy, dx (int): kernel size, stride, padding and
            dilation, vertical and horizontal.
        column: output, (channels * kh * kw,
            (n1 - n0) * (r1 - r0) * (c1 - c0)).
    """
    _, channels, height, width = x.shape
    rows, columns = r1 - r0, c1 - c0
    # What the tile sees of one plane, padding included: rows of elements that
    # are sorted by their place in the stride, so that all that one element of
    # the kernel sees of a row lies side by side.
    top, left = r0 * sy - ph, c0 * sx - pw
    patch_h = (rows - 1) * sy + (kh - 1) * dy + 1
    patch_w = columns + (kw - 1) * dx // sx
    patch = np.empty(patch_h * sx * patch_w, np.float32)
    x, column = x.ravel(), column.ravel()
    for channel in range(channels):
        for n in range(n0, n1):
            for r in range(patch_h):
                y, to = top + r, r * sx * patch_w
                if 0 <= y < height:
                    at = ((n * channels + channel) * height + y) * width
                    _split_row(x, at, width, left, np.float32(0), patch, to,
                               sx, patch_w)
                else:
                    patch[to:to + sx * patch_w] = 0
            for j in range(kh):
                for i in range(kw):
                    k = (channel * kh + j) * kw + i
                    phase, shift = i * dx % sx, i * dx // sx
                    at = (j * dy * sx + phase) * patch_w + shift
                    to = (k * (n1 - n0) + n - n0) * rows * columns
                    _copy_rows(patch, _unsigned(at),
                               _unsigned(sy * sx * patch_w), column,
                               _unsigned(to), _unsigned(rows),
                               _unsigned(columns))


@_kernel
def scatter_add(column, n0, n1, r0, r1, c0, c1, kh, kw, sy, sx, ph, pw, dy, dx,
                x):
    """Adds to ``x`` what ``gather`` would copy to ``column``: col2im."""
    _, channels, height, width = x.shape
    rows, columns = r1 - r0, c1 - c0
    top, left = r0 * sy - ph, c0 * sx - pw
    patch_h = (rows - 1) * sy + (kh - 1) * dy + 1
    patch_w = columns + (kw - 1) * dx // sx
    patch = np.empty(patch_h * sx * patch_w, np.float32)
    x, column = x.ravel(), column.ravel()
    for channel in range(channels):
        for n in range(n0, n1):
            patch[:] = 0
            for j in range(kh):
                for i in range(kw):
                    k = (channel * kh + j) * kw + i
                    phase, shift = i * dx % sx, i * dx // sx
                    at = (k * (n1 - n0) + n - n0) * rows * columns
                    to = (j * dy * sx + phase) * patch_w + shift
                    _add_rows(column, _unsigned(at), patch, _unsigned(to),
                              _unsigned(sy * sx * patch_w), _unsigned(rows),
                              _unsigned(columns))
            for r in range(max(-top, 0), min(height - top, patch_h)):
                to = ((n * channels + channel) * height + top + r) * width
                _add_split_row(patch, r * sx * patch_w, sx, patch_w, left,
                               width, x, to)


@_kernel
def normalize(x, c0, c1, gamma, beta, eps, mean, var, inv_std, y):
    """Normalises the channels [c0:c1].

    Args:
        x: input, (samples, channels, positions).
        gamma, beta: scale and shift, (channels,).
        eps (float): added to the variance.
        mean, var, inv_std: outputs, (channels,).
        y: output, like ``x``.
    """
    samples, _, positions = x.shape
    count = samples * positions
    for c in range(c0, c1):
        # Three passes over one channel, which stays in a cache.
        total = np.float64(0)
        for n in range(samples):
            for start in range(0, positions, _BLOCK):
                block = x[n, c, start:start + _BLOCK]
                partial = np.float32(0)
                for i in range(len(block)):
                    partial += block[i]
                total += partial
        m = np.float32(total / count)
        total = np.float64(0)
        for n in range(samples):
            for start in range(0, positions, _BLOCK):
                block = x[n, c, start:start + _BLOCK]
                partial = np.float32(0)
                for i in range(len(block)):
                    partial += (block[i] - m) * (block[i] - m)
                total += partial
        v = np.float32(total / count)
        s = np.float32(1) / np.sqrt(v + np.float32(eps))
        mean[c], var[c], inv_std[c] = m, v, s
        scale, shift = s * gamma[c], beta[c]
        for n in range(samples):
            source, target = x[n, c], y[n, c]
            for i in range(len(source)):
                target[i] = (source[i] - m) * scale + shift


@_kernel
def normalize_gradient(x, gy, c0, c1, gamma, mean, inv_std, gx, ggamma, gbeta):
    """Sets the gradients gx, ggamma and gbeta of ``normalize``."""
    samples, _, positions = x.shape
    count = samples * positions
    for c in range(c0, c1):
        m = mean[c]
        total_b = np.float64(0)
        total_g = np.float64(0)
        for n in range(samples):
            for start in range(0, positions, _BLOCK):
                block = x[n, c, start:start + _BLOCK]
                g_block = gy[n, c, start:start + _BLOCK]
                partial_b = np.float32(0)
                partial_g = np.float32(0)
                for i in range(len(block)):
                    partial_b += g_block[i]
                    partial_g += g_block[i] * (block[i] - m)
                total_b += partial_b
                total_g += partial_g
        b = np.float32(total_b)
        g = np.float32(total_g * inv_std[c])
        gbeta[c], ggamma[c] = b, g
        scale = gamma[c] * inv_std[c]
        b, g = np.float32(b / count), np.float32(g * inv_std[c] / count)
        for n in range(samples):
            source, g_source, target = x[n, c], gy[n, c], gx[n, c]
            for i in range(len(source)):
                g_hat = (source[i] - m) * g + b
                target[i] = scale * (g_source[i] - g_hat)


@_kernel
def scale_shift(x, p0, p1, mean, scale, shift, y):
    """``y = (x - mean) * scale + shift`` for the planes [p0:p1].

    Args:
        x: input, (planes, positions).
        mean, scale, shift: (planes,).
        y: output, like ``x``.
    """
    for p in range(p0, p1):
        m, a, b = mean[p], scale[p], shift[p]
        source, target = x[p], y[p]
        for i in range(len(source)):
            target[i] = (source[i] - m) * a + b


@_kernel
def pool_max(x, p0, p1, kh, kw, sy, sx, ph, pw, y, indexes):
    """Max pooling of the planes [p0:p1].

    Args:
        x: input, (planes, height, width).
        kh, kw, sy, sx, ph, pw (int): window size, stride and padding.
        y: output, (planes, out height, out width).
        indexes: output like ``y``, int32: ``row * kw + column`` of the largest
            element of the window, of equals the first, as in NumPy's argmax. A
            NaN is larger than any number.
    """
    height, width = x.shape[1:]
    out_h, out_w = y.shape[1:]
    x = x.ravel()
    columns = out_w + (kw - 1) // sx
    split = np.empty(sx * columns, np.float32)
    for p in range(p0, p1):
        for r in range(out_h):
            best, index = y[p, r], indexes[p, r]
            best[:] = -np.inf
            index[:] = 0
            for j in range(kh):
                at = r * sy + j - ph
                if at < 0 or at >= height:
                    continue
                _split_row(x, (p * height + at) * width, width, -pw,
                           np.float32(-np.inf), split, 0, sx, columns)
                for i in range(kw):
                    source = split[i % sx * columns + i // sx:]
                    k = np.int32(j * kw + i)
                    for c in range(out_w):
                        value, old, old_k = source[c], best[c], index[c]
                        first_nan = (value != value) & (old == old)
                        larger = (value > old) | first_nan
                        best[c] = value if larger else old
                        index[c] = k if larger else old_k


@_kernel
def pool_max_gradient(gy, indexes, p0, p1, kw, sy, sx, ph, pw, gx):
    """Adds ``gy`` to those elements of ``gx`` that ``pool_max`` picked."""
    height, width = gx.shape[1:]
    out_h, out_w = gy.shape[1:]
    for p in range(p0, p1):
        for r in range(out_h):
            for c in range(out_w):
                k = indexes[p, r, c]
                at_y = r * sy + k // kw - ph
                at_x = c * sx + k % kw - pw
                if 0 <= at_y < height and 0 <= at_x < width:
                    gx[p, at_y, at_x] += gy[p, r, c]


@_kernel
def rectify(x, start, end, y):
    """``y = max(x, 0)`` for the elements [start:end]; a NaN stays one."""
    x, y = x[start:end], y[start:end]
    for i in range(len(x)):
        value = x[i]
        y[i] = np.float32(0) if value < 0 else value


@_kernel
def rectify_gradient(y, gy, start, end, gx):
    """``gx = gy`` where ``y > 0``, else 0, for the elements [start:end]."""
    y, gy, gx = y[start:end], gy[start:end], gx[start:end]
    for i in range(len(y)):
        value, g = y[i], gy[i]
        gx[i] = g if value > 0 else np.float32(0)
