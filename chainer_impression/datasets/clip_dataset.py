"""The examples: random crops of cached clips to train on, whole ones to test.

P, section 2.2: each training example is a random crop of 50176 samples of the
audio and a random 224 x 224 crop of one random frame, flipped left-right with
probability one half.
"""

import hashlib
import warnings

import chainer
import numpy

from chainer_impression import media
from chainer_impression.datasets.clip_cache import CachedClip, cached_clips
from chainer_impression.datasets.labels import read_labels
from chainer_impression.errors import ImpressionError

#: Side of the square that is cropped from a frame, pixels (P 2.2).
CROP = 224
#: Samples that are cropped from the audio: the paper's 224 x 224 as 1 x n**2.
AUDIO_CROP = CROP * CROP

#: How many names a message gives as examples.
_N_NAMED = 3


class TrainingExamples(chainer.dataset.DatasetMixin):
    """Random crops of cached clips, with the traits as targets.

    What is cropped from a clip is a function of (seed, epoch, clip) and of
    nothing else: not of the process or thread that loads it, of the order, or
    of what was loaded before. The epoch is part of the index: example
    ``epoch * n + i`` is clip i of n as epoch ``epoch`` sees it, and
    :class:`EpochOrder` hands such indices to Chainer's iterators. Thus there
    is no random state to save, and a resumed run sees what it would have seen
    (Chainer's iterators save none: its issue 3754).

    Args:
        clips (dict): clip name to the path of the cached clip.
        labels (dict): clip name to float64 (5,); it has each of the clips.
        seed (int): not negative.

    Raises:
        chainer_impression.datasets.clip_cache.CacheError: a cached clip
            cannot be read; its index is read here, before hours of training.
    """

    def __init__(self, clips, labels, seed):
        self.names = sorted(clips)
        self.seed = seed
        self._paths = [clips[name] for name in self.names]
        self._traits = numpy.array(
            [labels[name] for name in self.names], numpy.float32)
        self._keys = [_stable_number(name) for name in self.names]
        self._warn_of_short_clips()

    def __len__(self):
        return len(self.names)

    def get_example(self, index):
        """One example.

        Args:
            index (int): epoch * len(self) + clip.

        Returns:
            tuple of numpy.ndarray: audio float32 (1, 1, 50176); frame float32
            (3, 224, 224), RGB, 0 to 255; traits float32 (5,).

        Raises:
            chainer_impression.datasets.clip_cache.CacheError: the cached clip
                is damaged.
        """
        epoch, i = divmod(int(index), len(self))
        random = numpy.random.Generator(numpy.random.PCG64(
            [self.seed, epoch, self._keys[i]]))
        clip = CachedClip(self._paths[i])
        return (_audio_crop(clip, random), _frame_crop(clip, random),
                self._traits[i])

    def __getitem__(self, index):
        # DatasetMixin would wrap indices beyond the length.
        return self.get_example(index)

    def _warn_of_short_clips(self):
        # Here and not where they are padded, which processes and threads do
        # that know nothing of one another: so it is said once.
        short = [name for name, path in zip(self.names, self._paths)
                 if CachedClip(path).n_samples < AUDIO_CROP]
        if short:
            warnings.warn(
                '{} of {} clips are shorter than the audio crop of {:.1f} s, '
                'so they are padded with silence ({})'.format(
                    len(short), len(self), AUDIO_CROP / media.SAMPLE_RATE,
                    _examples(short)))


def _audio_crop(clip, random):
    start = random.integers(max(clip.n_samples - AUDIO_CROP, 0) + 1)
    audio = clip.read_audio(start, min(clip.n_samples, start + AUDIO_CROP))
    return numpy.pad(audio, (0, AUDIO_CROP - len(audio)))[None, None]


def _frame_crop(clip, random):
    frame = clip.read_frame(random.integers(clip.n_frames))
    top = random.integers(media.FRAME_HEIGHT - CROP + 1)
    left = random.integers(media.FRAME_WIDTH - CROP + 1)
    frame = frame[top:top + CROP, left:left + CROP]
    if random.integers(2):
        frame = frame[:, ::-1]
    return frame.transpose(2, 0, 1).astype(numpy.float32, order='C')


def _stable_number(name):
    """A number that stands for a name on every machine and in every run."""
    return int.from_bytes(
        hashlib.sha256(name.encode('utf-8', 'surrogateescape')).digest()[:8],
        'little')


class EpochOrder(chainer.iterators.OrderSampler):
    """The order of the examples in each epoch, shuffled anew for each.

    For Chainer's iterators. The order is a function of (seed, epoch), and the
    epoch follows from the order that came before, which iterators save: there
    is no state here. The first epoch has the number 1.

    Args:
        seed (int): not negative.
    """

    def __init__(self, seed):
        self.seed = seed

    def __call__(self, current_order, current_position):
        n = len(current_order)
        epoch = int(current_order[0]) // n + 1
        random = numpy.random.Generator(numpy.random.PCG64(
            [self.seed, epoch]))
        return epoch * n + random.permutation(n)


class WholeClips(chainer.dataset.DatasetMixin):
    """Whole cached clips, for evaluation (P 2.3).

    Item i is (clip name, audio, frames): audio float32 (n_samples,), frames
    an iterable of uint8 (n, 3, 256, 456) chunks, read as they are asked for.

    Args:
        clips (dict): clip name to the path of the cached clip.
    """

    def __init__(self, clips):
        self.names = sorted(clips)
        self._clips = clips

    def __len__(self):
        return len(self.names)

    def get_example(self, i):
        return (self.names[i], *self.open_clip(self.names[i]))

    def open_clip(self, name):
        """The audio and the frames of a clip, by its name."""
        clip = CachedClip(self._clips[name])
        return clip.read_audio(), clip.read_frames()


def match_labels(cache, labels_path, allow_unmatched=False):
    """The cached clips of a folder and their labels, one for one.

    Args:
        cache: a folder of cached clips.
        labels_path: their labels, in either format.
        allow_unmatched (bool): go on without the clips that have no labels
            and without the labels that have no clip.

    Returns:
        tuple of dict: clip name to path, clip name to float64 (5,), with the
        same names.

    Raises:
        ImpressionError: either cannot be read, they have no clip in common,
            or one lacks clips of the other and that is not allowed.
    """
    clips, labels = cached_clips(cache), read_labels(labels_path)
    common = clips.keys() & labels.keys()
    if not common:
        raise ImpressionError(
            '{} and {} have no clip in common; are they of the same split?'
            .format(cache, labels_path))
    for names, what in (
            (clips.keys() - common, 'clips of {} have no labels in {}'.format(
                cache, labels_path)),
            (labels.keys() - common, 'clips of {} are not in the cache {}'
             .format(labels_path, cache))):
        if names and not allow_unmatched:
            raise ImpressionError(
                '{} {} ({}); pass --allow-unmatched to go on without them'
                .format(len(names), what, _examples(names)))
    return ({name: clips[name] for name in sorted(common)},
            {name: labels[name] for name in sorted(common)})


def _examples(names):
    return ', '.join(sorted(names)[:_N_NAMED]) + (
        ', …' if len(names) > _N_NAMED else '')
