"""Which demo clips there are: names, splits, traits and labels."""

import string
from typing import NamedTuple

import numpy as np

from chainer_impression.errors import ImpressionError
from chainer_impression.traits import TRAITS

SPLITS = ('training', 'validation', 'test')
MIN_CLIPS = 6          # fewer leave validation no seen and unseen video
CLIPS_IN_A_VIDEO = 6   # at most, numbered from 000, as in the data set

TRAIT_RANGE = (0.1, 0.9)   # of a video; evenly spread over it
CLIP_SPREAD = 0.02     # standard deviation of a clip around its video
LABEL_NOISE = 0.02     # standard deviation of a label around its clip

_ID_LETTERS = string.ascii_letters + string.digits + '-_'
# What a random stream is for: each has its own, so that a change in one place
# leaves all the others as they were.
(IDS, VIDEO_TRAITS, NUMBERS, LABELS,
 PERSON, SPEAKER, SPEECH, PICTURE, SOUND) = range(9)


class Clip(NamedTuple):
    """One clip of the demo set."""

    name: str             # VIDEOID.NNN.mp4
    split: str            # one of SPLITS
    video: int            # index of the video it is cut from
    number: int           # which piece of the video, the NNN of the name
    traits: np.ndarray    # float64 (5,), what the cues show
    labels: np.ndarray    # float64 (5,), in [0, 1], what the annotators say
    interview: float      # the sixth label of the second round


def random_stream(seed, purpose, *what):
    """The random numbers for one purpose of one video or clip."""
    return np.random.default_rng([seed, purpose, *what])


def plan(n_clips, seed):
    """Divide clips over videos and splits.

    About five eighths of the clips are for training, a quarter for validation,
    an eighth for testing. Half of the validation and half of the test clips
    come from a video that gave training clips. In the real data 84% of them
    do; here as many have to come from unseen videos as it takes to measure on
    them whether a network has learned the traits or the people. A clip of an
    unseen video is the only one of its video, for the same reason.

    Args:
        n_clips (int): number of clips in all, at least 6.
        seed (int): the chance.

    Returns:
        list of Clip: in the order of SPLITS.

    Raises:
        ImpressionError: if there are too few clips.
    """
    if n_clips < MIN_CLIPS:
        raise ImpressionError(
            f'--clips {n_clips} is too few for three splits that share some '
            f'videos: give {MIN_CLIPS} or more')
    n_validation, n_test = max(2, n_clips // 4), max(1, n_clips // 8)
    n_training = n_clips - n_validation - n_test
    # Two clips, one, two, one …: many people for a network to learn from.
    n_videos = (2 * n_training + 2) // 3

    pieces = [('training', i % n_videos) for i in range(n_training)]
    n_people = [n_videos]
    first_seen = 0
    for split, n_split in (('validation', n_validation), ('test', n_test)):
        n_seen = n_split // 2
        pieces += [(split, (first_seen + i) % n_videos) for i in range(n_seen)]
        first_seen += n_seen
        pieces += [(split, sum(n_people) + i) for i in range(n_split - n_seen)]
        n_people.append(n_split - n_seen)

    # Each group of videos is spread evenly by itself: few clips, yet no chance
    # gap or trend among those that train or among those that measure.
    video_traits = np.concatenate([
        _spread(n, random_stream(seed, VIDEO_TRAITS, group))
        for group, n in enumerate(n_people)])
    ids = _video_ids(sum(n_people), random_stream(seed, IDS))
    numbers = [list(random_stream(seed, NUMBERS, video).permutation(
        CLIPS_IN_A_VIDEO)) for video in range(sum(n_people))]
    return [
        _clip(split, video, ids[video], int(numbers[video].pop()),
              video_traits[video], random_stream(seed, LABELS, video, i))
        for i, (split, video) in enumerate(pieces)]


def _clip(split, video, video_id, number, video_traits, rng):
    def around(values, spread):
        noise = spread * rng.standard_normal(np.shape(values))
        return np.clip(values + noise, 0, 1)

    traits = around(video_traits, CLIP_SPREAD)
    return Clip(
        '{}.{:03d}.mp4'.format(video_id, number), split, video, number,
        traits, labels=around(traits, LABEL_NOISE),
        interview=float(around(traits.mean(), LABEL_NOISE)))


def _spread(n_videos, rng):
    """Traits of several videos: float64 (n_videos, 5).

    Evenly spread over TRAIT_RANGE and, as far as a few hundred tries find,
    without correlation between two traits (a Latin hypercube). In the real
    labels all five correlate; here a network must not be able to hear what
    can only be seen.
    """
    low, high = TRAIT_RANGE
    levels = low + (high - low) * (np.arange(n_videos) + 0.5) / n_videos
    tries = [np.stack([rng.permutation(levels) for _ in TRAITS], axis=1)
             for _ in range(300)]
    if n_videos < 3:
        return tries[0]   # any two traits of two videos correlate
    return min(tries, key=lambda traits: np.abs(
        np.corrcoef(traits.T) - np.eye(len(TRAITS))).max())


def _video_ids(n_videos, rng):
    """Different names of eleven characters that look like YouTube's."""
    ids = {}
    while len(ids) < n_videos:
        letters = rng.integers(len(_ID_LETTERS), size=11)
        name = ''.join(_ID_LETTERS[i] for i in letters)
        ids.setdefault(name.lower(), name)   # some disks ignore case
    return list(ids.values())
