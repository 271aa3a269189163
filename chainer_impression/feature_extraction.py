"""Layer-5 features of each second of many clips, extracted once and kept."""

import numpy

from chainer_impression.command_line import Progress
from chainer_impression.datasets.clip_cache import CachedClip
from chainer_impression.datasets.clip_seconds import n_time_points, seconds
from chainer_impression.errors import ImpressionError
from chainer_impression.read_ahead import ReadAhead

#: How many clips a message gives as examples.
_N_NAMED = 3


def extract_features(make_engine, clips, cache):
    """The features of clips, from the cache where they are there.

    It can be stopped at any moment; the next time it goes on where it was.

    Args:
        make_engine: gives what has ``extract_features(audio, frames)``; it is
            called only if there is something to extract.
        clips (dict): clip name to the path of the cached clip.
        cache (chainer_impression.datasets.feature_cache.FeatureCache): keeps
            the features.

    Returns:
        dict: clip name to float32 (n_time_points, 512).

    Raises:
        ImpressionError: the cache holds features of other weights, or clips
            are shorter than one second (all of them are counted before
            anything is extracted, and the first few named).
    """
    features = {name: cache.read(name, path) for name, path in clips.items()}
    missing = [name for name, found in features.items() if found is None]
    if missing:
        _check_lengths({name: clips[name] for name in missing})
        engine = make_engine()
        with Progress(len(clips), 'clips', 'extracting features',
                      done=len(clips) - len(missing)) as progress:
            for name in missing:
                features[name] = of_clip(engine, CachedClip(clips[name]))
                cache.write(name, clips[name], features[name])
                progress.advance()
    return features


def of_clip(engine, clip):
    """Layer-5 features of each second of a clip.

    Args:
        engine: what has ``extract_features(audio, frames)``.
        clip (chainer_impression.datasets.clip_cache.CachedClip): the clip.

    Returns:
        numpy.ndarray: float32 (n_time_points, 512), see
        :mod:`chainer_impression.datasets.clip_seconds`.

    Raises:
        ImpressionError: the clip is shorter than one second, or damaged.
    """
    with ReadAhead(seconds(clip)) as parts:
        return numpy.stack([engine.extract_features(*part) for part in parts])


def _check_lengths(clips):
    short = {}
    for name, path in clips.items():
        try:
            n_time_points(CachedClip(path))
        except ImpressionError as error:
            short[name] = error
    if len(short) == 1:
        raise next(iter(short.values()))
    if short:
        raise ImpressionError(
            '{} clips have less than the one second that the recurrent '
            'network needs ({}{}); leave them out'.format(
                len(short), ', '.join(list(short)[:_N_NAMED]),
                ', …' if len(short) > _N_NAMED else ''))
