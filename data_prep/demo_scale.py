"""How many demo clips, and how long to train: minutes instead of days.

Enough to tell a network that learns from one that does not, on clips of unseen
videos.
"""

import os

N_CLIPS = 48
N_EPOCHS = 45
STAGE_LENGTH = 15
BATCH_SIZE = 10

#: The last epoch of the networks for one trait each, which begin after the
#: first stage. Five of them are trained.
LAST_TRAIT_EPOCH = 20

#: Split, as folders are named, and as the challenge's label files are.
SPLITS = {'train': 'training', 'validation': 'validation', 'test': 'test'}


def data_commands(clips, cache):
    """The commands that draw the demo clips and cache them.

    Args:
        clips (str): folder for the clips and their labels.
        cache (str): folder for the caches of the three splits.

    Returns:
        list of tuple of str: arguments of Python.
    """
    return [('-m', 'data_prep.make_demo_clips', clips, '--clips',
             str(N_CLIPS)),
            *(('-m', 'data_prep.cache_clips', os.path.join(clips, split),
               os.path.join(cache, split)) for split in SPLITS)]


def labels_of(clips, split, form='CSV'):
    """The labels of a split of the demo clips.

    Args:
        clips (str): folder of the clips.
        split (str): a key of :data:`SPLITS`.
        form (str): ``'CSV'`` or ``'pickle'``, the two rounds' formats.

    Returns:
        str: the path.
    """
    name = {'CSV': '{}_gt.csv', 'pickle': 'annotation_{}.pkl'}[form]
    return os.path.join(clips, 'labels', name.format(SPLITS[split]))
