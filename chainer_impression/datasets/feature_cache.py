"""The features that the recurrent network is trained on, extracted once.

For each clip a file: an npz of the layer-5 features of each second, with a
digest of the weights that extracted them and one of the cached clip. Features
of other weights are refused, those of a clip that has changed since are
extracted anew, and so are those in a file that was cut short.

This file alone knows the format: it writes it and reads it. Nothing of it is
pickled.
"""

import hashlib
import os
import warnings

import numpy

from chainer_impression.errors import ImpressionError
from chainer_impression.files import make_folder, replace_when_done
from chainer_impression.links.residual_stream import N_FEATURES

_EXTENSION = '.features.npz'


class FeatureCache:
    """Features of clips under given weights, in a folder.

    Args:
        folder: where the files are. It is made if it is not there.
        weights (str): digest of the weights, see
            :func:`chainer_impression.links.weights.digest` of both streams.

    Raises:
        ImpressionError: the folder cannot be made.
    """

    def __init__(self, folder, weights):
        make_folder(folder)
        self.folder = folder
        self._weights = weights

    def path(self, name):
        """Where the features of a clip are, or would be."""
        return os.path.join(self.folder, name + _EXTENSION)

    def write(self, name, clip, features):
        """Keep the features of a clip.

        Args:
            name (str): the clip, as labels have it.
            clip: path of the cached clip that they are of.
            features: float32 (n_time_points, 512).

        Raises:
            ImpressionError: the file cannot be written.
        """
        size, modified = _state(clip)
        with replace_when_done(self.path(name), 'wb') as file:
            numpy.savez(file, features=numpy.asarray(features, numpy.float32),
                        weights=self._weights, clip=_digest(clip),
                        clip_size=size, clip_modified=modified)

    def read(self, name, clip):
        """The features of a clip, if they are there and still hold.

        Args:
            name (str): the clip, as labels have it.
            clip: path of the cached clip that they must be of.

        Returns:
            numpy.ndarray: float32 (n_time_points, 512); None if there are
            none, or only of the clip as it was before, or in a damaged file.

        Raises:
            ImpressionError: they were extracted with other weights.
        """
        path = self.path(name)
        try:
            with numpy.load(path, allow_pickle=False) as file:
                kept = {key: file[key] for key in (
                    'features', 'weights', 'clip', 'clip_size',
                    'clip_modified')}
            _check(kept['features'])
        except FileNotFoundError:
            return None
        except Exception as error:  # zip, zlib and NumPy each raise their own
            warnings.warn('{}: is damaged ({}), so the features are extracted '
                          'anew'.format(path, type(error).__name__))
            return None
        if str(kept['weights']) != self._weights:
            raise ImpressionError(
                '{}: holds features extracted with other weights ({}…, not '
                '{}…); give the weights that these are of, or another '
                '--features folder'.format(
                    path, str(kept['weights'])[:12], self._weights[:12]))
        # As make and git do: a file is read again only if size or time differ.
        state = int(kept['clip_size']), int(kept['clip_modified'])
        if state != _state(clip) and str(kept['clip']) != _digest(clip):
            return None
        return kept['features']


def _check(features):
    if features.dtype != numpy.float32 or features.ndim != 2 \
            or len(features) == 0 or features.shape[1] != 2 * N_FEATURES \
            or not numpy.isfinite(features).all():
        raise ValueError('no features')


def _state(clip):
    status = os.stat(clip)
    return status.st_size, status.st_mtime_ns


def _digest(clip):
    digest = hashlib.sha256()
    with open(clip, 'rb') as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()
