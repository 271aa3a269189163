"""A clip as the recurrent network has it: second by second (P, DNN + RNN).

Time point t is the sound and the pictures from t to t + 1 seconds: 16,000
samples and 25 frames. What is left at the end, a part of a second, is a time
point of its own if it has at least half a second of both, and is left out
otherwise: a clip of the challenge, 15.3 s, has 15 time points, which is also
where the paper truncates backpropagation, and one of 14.98 s has 15 as well.
A clip with less than one second of sound or of pictures is refused.
"""

from chainer_impression.errors import ImpressionError
from chainer_impression.media import FRAME_RATE, SAMPLE_RATE


def n_time_points(clip):
    """How many time points a clip has.

    Args:
        clip (chainer_impression.datasets.clip_cache.CachedClip): any length.

    Returns:
        int: at least 1.

    Raises:
        ImpressionError: the clip is shorter than one second.
    """
    if clip.n_samples < SAMPLE_RATE or clip.n_frames < FRAME_RATE:
        raise ImpressionError(
            '{}: has {:.2f} s of sound and {:.2f} s of pictures, less than '
            'the one second that the recurrent network needs; leave it out'
            .format(clip.path, clip.n_samples / SAMPLE_RATE,
                    clip.n_frames / FRAME_RATE))
    return min((clip.n_samples + SAMPLE_RATE // 2) // SAMPLE_RATE,
               (clip.n_frames + FRAME_RATE // 2) // FRAME_RATE)


def seconds(clip):
    """The time points of a clip, one after the other.

    Args:
        clip (chainer_impression.datasets.clip_cache.CachedClip): any length.

    Yields:
        tuple of numpy.ndarray: audio float32 (16000,) in [-1, 1]; frames
        uint8 (25, 3, 256, 456), RGB. The last may have less of either.

    Raises:
        ImpressionError: the clip is shorter than one second.
        chainer_impression.datasets.clip_cache.CacheError: it is damaged.
    """
    frames = clip.read_frames(FRAME_RATE)
    for t in range(n_time_points(clip)):
        start = t * SAMPLE_RATE
        yield (clip.read_audio(start, min(start + SAMPLE_RATE,
                                          clip.n_samples)), next(frames))
