"""The folder of a run: whose it is, and that nobody else is at work in it."""

import contextlib
import hashlib
import json
import os

from chainer_impression.errors import ImpressionError
from chainer_impression.files import (
    UNFINISHED_PREFIX, lock_alone, make_folder, replace_when_done)

_SETTINGS = 'settings.json'
_LOCK = '.lock'


@contextlib.contextmanager
def open_run(folder, settings):
    """Make the folder of a run, or go on in it.

    Files that a killed process left unfinished are removed.

    Args:
        folder: where the run keeps its results.
        settings (dict): everything that the results depend on, as JSON has it.

    Raises:
        ImpressionError: the folder cannot be written, holds something else
            or a run with other settings (the message names the first that
            differs), or another process is at work in it.
    """
    make_folder(folder)
    with locked(folder) as alone:
        if alone:
            _remove_unfinished(folder)
        path = os.path.join(folder, _SETTINGS)
        if os.path.exists(path):
            check_settings(path, settings)
        elif holds_something(folder):
            raise ImpressionError(
                '{}: is not empty and holds no run; choose another --out'
                .format(folder))
        else:
            with replace_when_done(path, encoding='utf-8') as file:
                json.dump(settings, file, indent=2)
        yield


@contextlib.contextmanager
def locked(folder):
    """Keep a folder to this process, as long as the context lasts.

    Yields:
        bool: whether it is certain that nobody else is at work in it; a file
        system may have no locks.

    Raises:
        ImpressionError: the folder cannot be written, or another process is
            at work in it.
    """
    lock, alone = _lock(folder)
    try:
        yield alone
    finally:
        lock.close()


def holds_something(folder):
    """Whether there is more in a folder than what a process left behind.

    One that is killed in its first moments leaves a lock, which holds nobody,
    and perhaps an unfinished file.
    """
    return any(name != _LOCK and not name.startswith(UNFINISHED_PREFIX)
               for name in os.listdir(folder))


def _remove_unfinished(folder):
    # A snapshot that a kill cut short would take its 67 MB for ever.
    for name in os.listdir(folder):
        if name.startswith(UNFINISHED_PREFIX):
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(folder, name))


def _lock(folder):
    """The open lock of a folder, and whether nobody else can have it."""
    path = os.path.join(folder, _LOCK)
    try:
        lock = open(path, 'w')
    except OSError as error:
        raise ImpressionError('{}: cannot be written ({}); choose another '
                              '--out'.format(folder, error.strerror)) \
            from error
    try:
        return lock, lock_alone(lock)
    except BlockingIOError as error:
        lock.close()
        raise ImpressionError(
            '{}: another process is at work on this run; wait for it, or '
            'choose another --out'.format(folder)) from error


def check_settings(path, settings):
    """Compare settings with those of a run that was begun before.

    Args:
        path: the run's file of settings.
        settings (dict): those of now.

    Raises:
        ImpressionError: they differ, or the file cannot be read.
    """
    try:
        with open(path, encoding='utf-8') as file:
            before = dict(json.load(file))
    except (OSError, ValueError, TypeError) as error:
        raise ImpressionError('{}: cannot be read ({}); choose another --out'
                              .format(path, error)) from error
    difference = first_difference(before, settings)
    if difference:
        raise ImpressionError(
            '{}: holds another run, in which {}; give it the same settings, '
            'or choose another --out'.format(
                os.path.dirname(path) or '.', difference))


def first_difference(before, settings):
    """Say which setting of a run differs from now.

    Args:
        before (dict): settings as JSON gave them back.
        settings (dict): those of now.

    Returns:
        str: such as ``'seed is 0, not 5'``; None if they are the same.
    """
    now = json.loads(json.dumps(settings))
    for name in [*now, *sorted(before.keys() - now.keys())]:
        if before.get(name) != now.get(name):
            return '{} is {}, not {}'.format(
                name, before.get(name), now.get(name))
    return None


def fingerprint(clips, labels=None):
    """A short text that stands for a split: its clips and their labels.

    Args:
        clips (dict): clip name to the path of the cached clip.
        labels (dict): clip name to (5,); None if they do not matter.

    Returns:
        str
    """
    digest = hashlib.sha256()
    for name in sorted(clips):
        digest.update('{}\0{}\0{}\n'.format(
            name, os.path.getsize(clips[name]),
            ' '.join(repr(float(v)) for v in labels[name])
            if labels is not None else '').encode(
                'utf-8', 'surrogateescape'))
    return '{} clips, {}'.format(len(clips), digest.hexdigest()[:12])
