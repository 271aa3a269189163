"""What gives each trait of a drawn person away: the demo clips' one table.

Drawing reads the rows of the picture and nothing else, the voice reads the
rows of the sound and nothing else, so a trait without a row for the picture
cannot be seen and a trait without a row for the sound cannot be heard.
"""

from typing import NamedTuple

import numpy as np

from chainer_impression.traits import TRAITS

#: Standard deviation of the noise of one clip's cue, on the scale of the
#: traits (0 to 1): no cue tells its trait exactly.
CUE_NOISE = 0.02


class Cue(NamedTuple):
    """One thing that can be seen or heard, and the trait it stands for."""

    trait: str       # one of TRAITS
    stream: str      # 'picture' or 'sound'
    name: str        # what the drawing or the voice calls it
    low: float       # its value where the trait is 0
    high: float      # its value where the trait is 1
    unit: str
    looks: str       # from a low to a high trait, in words


#: Trait -> cue. Two traits are in the picture only, two in the sound only,
#: one is in both, so that each stream can be judged by itself.
CUES = (
    Cue('extraversion', 'picture', 'light', 0.55, 1.30, 'exposure',
        'a dim room … a bright one'),
    Cue('extraversion', 'sound', 'loudness', -31.0, -17.0, 'dB full scale',
        'a quiet voice … a loud one'),
    Cue('agreeableness', 'picture', 'warmth', -1.0, 1.0, 'blue … amber',
        'cold light … warm light'),
    Cue('agreeableness', 'picture', 'smile', -1.0, 1.0, 'corners of the mouth',
        'a straight face … a smile'),
    Cue('openness', 'picture', 'pattern', 0.0, 1.0, 'contrast',
        'plain wall and jumper … boldly patterned ones'),
    Cue('conscientiousness', 'sound', 'breath', 6.0, -16.0, 'dB re the voice',
        'a hoarse, breathy voice … a clear one'),
    Cue('neuroticism', 'sound', 'pitch', 290.0, 85.0, 'Hz',
        'a high voice … a deep one (a high value means stable)'),
    Cue('neuroticism', 'sound', 'tilt', 0.0, -12.0, 'dB per octave',
        'a tense, sharp voice … a calm, dark one'),
)


def cue_values(traits, stream, rng):
    """The cues of one stream for one clip.

    Frequencies move along a logarithmic scale, as they are heard; everything
    else along a straight line.

    Args:
        traits: float array (5,), in the order of TRAITS, about 0 to 1.
        stream (str): ``'picture'`` or ``'sound'``.
        rng (numpy.random.Generator): draws the cue noise.

    Returns:
        dict: {name of the cue: float in its unit}, for this stream alone.
    """
    values = {}
    for cue in CUES:
        if cue.stream != stream:
            continue
        noise = CUE_NOISE * rng.standard_normal()
        where = float(np.clip(traits[TRAITS.index(cue.trait)] + noise, 0, 1))
        if cue.unit == 'Hz':
            values[cue.name] = cue.low * (cue.high / cue.low) ** where
        else:
            values[cue.name] = cue.low + where * (cue.high - cue.low)
    return values


def streams_of(trait):
    """The streams a trait shows in, sorted: e.g. ``('picture', 'sound')``."""
    return tuple(sorted({cue.stream for cue in CUES if cue.trait == trait}))


def as_table():
    """The table in words, one row for each cue, for ``--help``."""
    line = '{:18s} {:8s} {:9s} {}'.format
    return '\n'.join(
        [line('trait', 'stream', 'cue', 'low … high')]
        + [line(cue.trait, cue.stream, cue.name, cue.looks) for cue in CUES])
