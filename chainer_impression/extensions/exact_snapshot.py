"""Snapshots from which a run goes on as if it had never been stopped."""

import os
import re
import zipfile

import chainer
from chainer.training import extension

from chainer_impression.files import replace_when_done

_NAME = re.compile(r'snapshot-epoch-(\d+)\.npz')


class ExactSnapshot(extension.Extension):
    """Saves the whole Trainer at the end of epochs.

    A snapshot takes its name when it is complete and on the disk. The last
    few are kept, and those of the given epochs for good. Snapshots of later
    epochs, which are there if the run was resumed from an older one, are left
    until the run has come so far.

    Runs after every other extension, so that a snapshot holds what they did
    at the end of the epoch. Reports nothing.

    Args:
        keep (int): how many of the last snapshots are kept.
        keep_epochs: epochs whose snapshots stay for good.
    """

    trigger = 1, 'epoch'
    default_name = 'ExactSnapshot'
    priority = -200

    def __init__(self, keep=2, keep_epochs=()):
        self._keep = keep
        self._keep_epochs = frozenset(keep_epochs)

    def __call__(self, trainer):
        path = os.path.join(
            trainer.out, 'snapshot-epoch-{}.npz'.format(trainer.updater.epoch))
        with replace_when_done(path, 'wb') as file:
            chainer.serializers.save_npz(file, trainer, compression=False)
        so_far = [(epoch, old) for epoch, old in snapshots(trainer.out)
                  if epoch <= trainer.updater.epoch]
        for epoch, old in so_far[self._keep:]:
            if epoch not in self._keep_epochs:
                os.unlink(old)


def snapshots(folder):
    """The snapshots in a run's folder.

    Returns:
        list of (int, str): epoch and path, the last epoch first.
    """
    found = []
    for name in os.listdir(folder):
        match = _NAME.fullmatch(name)
        if match:
            found.append((int(match[1]), os.path.join(folder, name)))
    return sorted(found, reverse=True)


def is_whole(path):
    """Whether every array of an npz file is there, by its checksums."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except Exception:  # zipfile has many kinds of them for damaged bytes
        return False


def newest_whole_snapshot(folder):
    """The snapshot to go on from.

    Returns:
        tuple: path of the newest snapshot that is whole (None if there is
        none), and the paths of those passed over because they are not.
    """
    damaged = []
    for _, path in snapshots(folder):
        if is_whole(path):
            return path, damaged
        damaged.append(path)
    return None, damaged
