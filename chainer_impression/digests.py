"""Digests of files and folders, each file read only once while it stays."""

import hashlib
import json
import os

from chainer_impression.command_line import Progress
from chainer_impression.errors import ImpressionError
from chainer_impression.files import replace_when_done

_CHUNK = 1 << 20  # bytes
#: A folder of more files than this shows its progress.
_MANY = 500


class Digests:
    """Digests of contents, remembered by size and time of the last change.

    Args:
        path: the file that remembers them; it need not exist.
    """

    def __init__(self, path):
        self._path = path
        self._changed = False
        try:
            with open(path, encoding='utf-8') as file:
                self._known = dict(json.load(file))
        except (OSError, ValueError, TypeError):
            self._known = {}  # no loss but that files are read again

    def of(self, path):
        """The digest of what a file or a folder holds.

        Files whose names begin with a dot do not count: locks, and what is
        unfinished.

        Args:
            path: a file or a folder.

        Returns:
            str: None if there is nothing under this name.

        Raises:
            ImpressionError: it is there and cannot be read.
        """
        if os.path.isdir(path):
            return self._of_folder(path)
        return self._of_file(path) if os.path.exists(path) else None

    def save(self):
        """Remember the digests for the next process."""
        if self._changed:
            with replace_when_done(self._path, encoding='utf-8') as file:
                json.dump(self._known, file)
            self._changed = False

    def _of_folder(self, folder):
        files = sorted(
            os.path.join(where, name) for where, _, names in os.walk(folder)
            for name in names if not name.startswith('.'))
        digest = hashlib.sha256()
        progress = Progress(len(files), 'files', 'checking ' + str(folder)) \
            if len(files) > _MANY else None
        for path in files:
            digest.update('{}\0{}\n'.format(
                os.path.relpath(path, folder), self._of_file(path)).encode(
                    'utf-8', 'surrogateescape'))
            if progress:
                progress.advance()
        if progress:
            progress.close()
        return digest.hexdigest()

    def _of_file(self, path):
        key = os.path.abspath(path)
        try:
            stat = os.stat(path)
            stamp = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
            known = self._known.get(key)
            if isinstance(known, list) and known[:-1] == stamp:
                return known[-1]
            digest = hashlib.sha256()
            with open(path, 'rb') as file:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
        except OSError as error:
            raise ImpressionError('{}: cannot be read ({})'.format(
                path, error.strerror)) from error
        self._known[key] = [*stamp, digest.hexdigest()]
        self._changed = True
        return digest.hexdigest()
