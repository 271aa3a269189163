"""Weights on disk: what is checked before a network believes them."""

import hashlib
import os
import stat
import warnings
import zipfile

import chainer
import numpy
from chainer.serializers import npz

from chainer_impression.errors import ImpressionError
from chainer_impression.files import replace_when_done

#: Has a number for each value that a network predicts; it is read first, for
#: networks for five traits and for one differ in nothing else.
_OUTPUT = 'fc/b'


def load_weights(path, link):
    """Load weights into a link: own ones, the released file, or a snapshot.

    Unlike ``chainer.serializers.load_npz`` it never unpickles anything, and
    it either loads every value or none.

    Args:
        path: an npz file under any name. Names in it may have a prefix, as
            those of a Trainer's snapshot do.
        link (chainer.Link): what to load into.

    Raises:
        ImpressionError: the file cannot be read, is no npz file, is of
            another network, lacks a parameter, or holds values that are not
            finite. The link is unchanged.
    """
    expected = npz.serialize(link)
    try:
        # Opening a named pipe would wait for ever.
        if not os.path.isdir(path) and not stat.S_ISREG(os.stat(path).st_mode):
            raise ImpressionError('{}: is no ordinary file'.format(path))
        with open(path, 'rb') as file:
            # zipfile looks for the end of an archive only, NumPy for this.
            if file.read(4) != b'PK\3\4':
                raise zipfile.BadZipFile
        with zipfile.ZipFile(path) as archive:
            sizes = {info.filename.removesuffix('.npy'): info.file_size
                     for info in archive.infolist()}
    except OSError as error:
        raise ImpressionError('{}: the weights cannot be read ({})'.format(
            path, error.strerror or error)) from error
    except zipfile.BadZipFile as error:
        raise ImpressionError(
            '{}: is no file of weights, or was cut short; weights are npz '
            'files, such as the released one, named model'.format(
                path)) from error
    prefix = _find_prefix(path, expected, sizes)
    with warnings.catch_warnings(), numpy.load(path) as file:
        # The released file was written by Python 2, and NumPy would say so.
        warnings.filterwarnings('ignore', '.*created on Python 2')
        values = {name: _read(path, file, prefix, name, expected[name], sizes)
                  for name in sorted(expected, key=_OUTPUT.__ne__)}
    npz.NpzDeserializer(values).load(link)


def save_weights(path, link):
    """Write the weights of a link, as ``chainer.serializers.save_npz`` does.

    Args:
        path: the file to write; it is replaced when the new one is complete.
        link (chainer.Link): whose weights.
    """
    with replace_when_done(path, 'wb') as file:
        chainer.serializers.save_npz(file, link, compression=False)


def digest(*links):
    """A text that stands for the weights of links, whatever file has them.

    Args:
        links (chainer.Link): parameters and running statistics count.

    Returns:
        str: SHA-256, 64 hexadecimal digits.
    """
    hashed = hashlib.sha256()
    for link in links:
        values = npz.serialize(link)
        for name in sorted(values):
            value = numpy.asarray(values[name])
            hashed.update('{}\0{}\0{}\n'.format(
                name, value.dtype.str, value.shape).encode())
            hashed.update(value.tobytes())
    return hashed.hexdigest()


def _find_prefix(path, expected, names):
    """What stands before each name: nothing, or a snapshot's path."""
    first = min(expected)
    prefixes = [n[:-len(first)] for n in names
                if n == first or n.endswith('/' + first)]
    missing = []
    for prefix in sorted(prefixes, key=len):
        missing = sorted(n for n in expected if prefix + n not in names)
        if not missing:
            return prefix
    if not missing:
        raise ImpressionError(
            '{}: holds the weights of another network (it has no {})'.format(
                path, first))
    raise ImpressionError('{}: lacks {}{}'.format(
        path, missing[0], ' and {} more'.format(len(missing) - 1)
        if len(missing) > 1 else ''))


def _read(path, file, prefix, name, like, sizes):
    """One array, checked: a number for each number of the network."""
    # Room for double precision and the header of an npy file: an array that
    # takes more is of another shape, and perhaps of a size to fill memory.
    small = sizes[prefix + name] <= 8 * max(like.size, 1) + 4096
    try:
        value = file[prefix + name] if small else None
    except Exception as error:
        raise ImpressionError('{}: {} cannot be read ({}: {})'.format(
            path, name, type(error).__name__,
            str(error).splitlines()[0] if str(error) else 'no reason given',
        )) from error
    if name == _OUTPUT and value is not None \
            and numpy.ndim(value) == 1 and len(value) != len(like):
        raise ImpressionError(
            '{}: holds a network that predicts {} of the traits; what is '
            'needed here is one that predicts {}'.format(
                path, len(value), len(like)))
    if value is None or numpy.shape(value) != like.shape:
        raise ImpressionError(
            '{}: holds the weights of another network ({} is {}, not {})'
            .format(path, name, 'too large' if value is None
                    else numpy.shape(value), like.shape))
    # What is no npy file comes as bytes.
    if getattr(value, 'dtype', numpy.dtype('S')).kind in 'fiu':
        with numpy.errstate(over='ignore'):  # float64 that float32 cannot hold
            value = value.astype(like.dtype)
        if numpy.isfinite(value).all():
            if name.endswith('/avg_var') and (value < 0).any():
                raise ImpressionError(
                    '{}: {} holds a variance below zero'.format(path, name))
            return value
    raise ImpressionError(
        '{}: {} holds values that are not finite numbers'.format(path, name))
