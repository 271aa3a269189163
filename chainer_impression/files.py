"""Files that are whole or not there at all, whatever happens meanwhile."""

import contextlib
import errno
import fcntl
import os
import tempfile

from chainer_impression.errors import ImpressionError

#: Files under this prefix are unfinished; nothing reads them as anything else.
UNFINISHED_PREFIX = '.unfinished-'


@contextlib.contextmanager
def replace_when_done(path, mode='w', **open_arguments):
    """Open a file for writing that takes its name only when it is complete.

    It is written beside its destination, flushed to the disk, and renamed. A
    process killed in between leaves the former file, if any, as it was.

    Args:
        path: the destination.
        mode (str): ``'w'`` or ``'wb'``.
        open_arguments: what else goes to :func:`open`.

    Yields:
        the open file.

    Raises:
        ImpressionError: the destination cannot be written, or its disk is
            full. The former file is whole.
    """
    path = os.fspath(path)
    folder, name = os.path.split(path)
    unfinished = None
    try:
        descriptor, unfinished = tempfile.mkstemp(
            prefix=UNFINISHED_PREFIX, suffix='-' + name[-64:],
            dir=folder or '.')
        with os.fdopen(descriptor, mode, **open_arguments) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files private; a cache is shared between people.
        os.chmod(unfinished, 0o666 & ~_umask())
        os.replace(unfinished, path)
    except BaseException as error:
        if unfinished is not None:
            with contextlib.suppress(OSError):
                os.unlink(unfinished)
        if isinstance(error, OSError):
            raise cannot_write(path, error) from error
        raise


def make_folder(path):
    """Make a folder and those above it, if they are not there.

    Raises:
        ImpressionError: it cannot be made, or is a file.
    """
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path, error):
    """The sentence for an :class:`OSError` met while writing ``path``."""
    if error.errno == errno.ENOSPC:
        advice = 'the disk is full: free some space and run this again'
    elif error.errno == errno.EDQUOT:
        advice = 'your quota is used up: free some space and run this again'
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        advice = 'it is not yours to write: choose another destination'
    else:
        advice = error.strerror or str(error)
    return ImpressionError('{}: cannot be written ({})'.format(path, advice))


def lock_alone(file):
    """Lock an open file against other processes, as long as it is open.

    Returns:
        bool: True; False on a file system without locks, where another
        process may be at work as well.

    Raises:
        BlockingIOError: another process has the lock.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True


def _umask():
    # Python has no way of asking for it but to set it.
    mask = os.umask(0o22)
    os.umask(mask)
    return mask
