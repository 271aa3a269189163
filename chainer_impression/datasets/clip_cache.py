"""The cache: every clip resampled once, read at random for 900 epochs.

A cached clip is an AVI file that any player opens: motion JPEG of 456 x 256
pixels at 25 frames per second, every frame by itself, with 16-bit PCM sound
at 16 kHz (P, section 3). Its index, at its end, gives the place of every frame
and of every stretch of sound, so that any of them is one read away; a file
that was cut short has no index and is found out.

This file alone knows the format: it writes it and reads it.
"""

import io
import os
import struct
import tempfile

import numpy

from chainer_impression import media
from chainer_impression.errors import ImpressionError

#: A cached clip is named after its source, which labels know it by.
EXTENSION = '.avi'

#: A clip longer than this is refused; AVI's simple index ends at 1 GB, and the
#: clips of the data set last 15 s.
MAX_SECONDS = 20 * 60

#: ffmpeg's scale of JPEG quality, 2 (best) to 31. At 3 a frame has 38 dB or
#: more against the uncompressed one, and a clip of 15 s has 5 to 6.5 MB.
_JPEG_QUALITY = 3
#: What a second of a cached clip takes, for the estimate of disk space.
BYTES_PER_SECOND = 430_000

_FULL_SCALE = 32768  # of 16-bit PCM
_INDEX_ENTRY = numpy.dtype([('id', 'S4'), ('flags', '<u4'),
                            ('offset', '<u4'), ('size', '<u4')])
_FRAME, _SOUND = b'00dc', b'01wb'
_CHUNK_HEADER = 8  # bytes: an id and a size before the data


class CacheError(ImpressionError):
    """A cached clip that cannot be read; the message names it."""


class DiskError(ImpressionError):
    """The cache cannot be written; no clip is to blame."""


def write(source, path):
    """Resample a clip into the cache.

    One thread of one ffmpeg decodes, scales and compresses, so that as many
    clips as there are cores can go on at the same time.

    Args:
        source: a clip in any format that ffmpeg reads.
        path: the AVI file to write. It is not renamed into place here: the
            caller gives it its final name once this returns.

    Raises:
        chainer_impression.media.MediaError: the clip cannot be read, or ends
            before the duration that its header states.
        DiskError: the file cannot be written.
    """
    audio = media.read_audio(source)
    if len(audio) > MAX_SECONDS * media.SAMPLE_RATE:
        raise media.MediaError(
            '{}: is longer than {} minutes; cut it into clips first'.format(
                source, MAX_SECONDS // 60))
    with tempfile.TemporaryFile() as sound:
        pcm = numpy.rint(audio * _FULL_SCALE)
        pcm.clip(-_FULL_SCALE, _FULL_SCALE - 1).astype('<i2').tofile(sound)
        sound.seek(0)
        with media.Decoder(source, _writing_arguments(source), path,
                           stdin=sound) as decoder:
            try:
                decoder.finish()
            except media.MediaError as error:
                # Was it the source or the disk? The disk's faults name the
                # output, or end the process.
                if decoder.output_failed:
                    raise DiskError(
                        '{}: cannot be written, the disk is full or a limit '
                        'on file sizes is reached: free some space and run '
                        'this again'.format(path)) from error
                raise
            clip = CachedClip(path)
            media.check_n_frames(source, clip.n_frames, decoder)
    if clip.n_samples != len(audio):
        raise DiskError('{}: holds {} of {} samples of sound'.format(
            path, clip.n_samples, len(audio)))
    for k in (0, clip.n_frames - 1):
        clip.read_frame(k)
    with open(path, 'rb+') as file:
        os.fsync(file.fileno())


def _writing_arguments(source):
    """What ffmpeg needs after its first input, the source."""
    scaled = media.SCALED + ':out_color_matrix=bt601:out_range=full'
    return [
        '-f', 's16le', '-ar', str(media.SAMPLE_RATE), '-ac', '1',
        '-i', 'pipe:0', '-map', '0:v:0', '-map', '1:a:0',
        '-vf', media.AT_FRAME_RATE + ',' + scaled,
        # JPEG has the colour matrix of BT.601 whatever the source's was.
        '-pix_fmt', 'yuvj420p', '-c:v', 'mjpeg', '-q:v', str(_JPEG_QUALITY),
        '-c:a', 'copy', '-threads', '1', '-t', str(MAX_SECONDS + 60),
        # Files of the same source are the same to the bit.
        '-map_metadata', '-1', '-bitexact', '-fflags', '+bitexact',
        '-metadata', 'comment=' + _stamp(source), '-f', 'avi', '-y']


def _stamp(source):
    """What a cached clip says about its source."""
    return 'made from {} bytes'.format(os.path.getsize(source))


def is_current(source, path):
    """Whether ``path`` is a whole cached clip, made from ``source`` as it is.

    Returns:
        bool
    """
    try:
        return CachedClip(path).comment == _stamp(source)
    except CacheError:
        return False


def cached_clips(folder):
    """The cached clips in a folder.

    Args:
        folder: a cache.

    Returns:
        dict: name of the clip, as labels have it, to :class:`CachedClip`'s
        path, sorted by name.

    Raises:
        ImpressionError: the folder cannot be read or holds no cached clip.
    """
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise ImpressionError('{}: the cache cannot be read ({})'.format(
            folder, error.strerror)) from error
    clips = {name.removesuffix(EXTENSION): os.path.join(folder, name)
             for name in names
             if name.endswith(EXTENSION) and not name.startswith('.')}
    if not clips:
        raise ImpressionError(
            '{}: holds no cached clip; "python -m data_prep.cache_clips '
            'SOURCE CACHE" makes them'.format(folder))
    return clips


class CachedClip:
    """One clip of the cache, its index read, its data read on demand.

    Args:
        path: an AVI file that :func:`write` made.

    Attributes:
        path: as given.
        n_frames (int): frames, 25 per second.
        n_samples (int): samples of sound, 16,000 per second.
        comment (str): what the file says about its source.

    Raises:
        CacheError: the file is missing, cut short or no cached clip.
    """

    def __init__(self, path):
        self.path = os.fspath(path)
        try:
            with open(self.path, 'rb') as file:
                start, index, self.comment = _read_index(file)
        except OSError as error:
            raise self._error(error.strerror) from error
        except (struct.error, ValueError) as error:
            raise self._error('is cut short or no cached clip') from error
        frames, sound = (index[index['id'] == i] for i in (_FRAME, _SOUND))
        self._frame_offsets = start + frames['offset'].astype('i8')
        self._frame_sizes = frames['size']
        self._sound_offsets = start + sound['offset'].astype('i8')
        #: Where each chunk of sound begins, and the last ends, in samples.
        self._sound_samples = numpy.concatenate(
            ([0], numpy.cumsum(sound['size'].astype('i8') // 2)))
        self.n_frames = len(frames)
        self.n_samples = int(self._sound_samples[-1])
        if not self.n_frames or not self.n_samples:
            raise self._error('holds no picture or no sound')

    def read_frame(self, k):
        """The frame at k / 25 s.

        Args:
            k (int): 0 <= k < :attr:`n_frames`.

        Returns:
            numpy.ndarray: uint8 (256, 456, 3), RGB.

        Raises:
            IndexError: the clip has no such frame.
            CacheError: the frame is damaged.
        """
        if not 0 <= k < self.n_frames:
            raise IndexError('frame {} of {}'.format(k, self.n_frames))
        with self._open() as file:
            return self._decode(file, k)

    def read_audio(self, start=0, stop=None):
        """A stretch of the sound.

        Args:
            start (int): first sample.
            stop (int): end sample, the end of the clip if None.

        Returns:
            numpy.ndarray: float32 (stop - start,) in [-1, 1].

        Raises:
            IndexError: the clip has no such stretch.
            CacheError: the sound is damaged.
        """
        stop = self.n_samples if stop is None else stop
        if not 0 <= start < stop <= self.n_samples:
            raise IndexError('samples {} to {} of {}'.format(
                start, stop, self.n_samples))
        begins = self._sound_samples
        first = int(numpy.searchsorted(begins, start, 'right')) - 1
        last = int(numpy.searchsorted(begins, stop, 'left'))
        pcm = []
        with self._open() as file:
            for i in range(first, last):
                file.seek(self._sound_offsets[i] + _CHUNK_HEADER)
                pcm.append(file.read(2 * int(begins[i + 1] - begins[i])))
        pcm = numpy.frombuffer(b''.join(pcm), '<i2')
        pcm = pcm[start - begins[first]:stop - begins[first]]
        if len(pcm) != stop - start:
            raise self._error('is cut short')
        return pcm.astype(numpy.float32) / _FULL_SCALE

    def read_frames(self, chunk=media.CHUNK):
        """All frames, as a stream, as :func:`media.read_frames` gives them.

        Args:
            chunk (int): frames at a time.

        Yields:
            numpy.ndarray: uint8 (n, 3, 256, 456), n at most ``chunk``.

        Raises:
            CacheError: a frame is damaged.
        """
        for first in range(0, self.n_frames, chunk):
            with self._open() as file:
                frames = [self._decode(file, k) for k in range(
                    first, min(first + chunk, self.n_frames))]
            yield numpy.stack(frames).transpose(0, 3, 1, 2)

    def _open(self):
        try:
            return open(self.path, 'rb')
        except OSError as error:
            raise self._error(error.strerror) from error

    def _decode(self, file, k):
        from PIL import Image
        file.seek(self._frame_offsets[k] + _CHUNK_HEADER)
        jpeg = file.read(int(self._frame_sizes[k]))
        try:
            picture = numpy.asarray(Image.open(io.BytesIO(jpeg)))
        except Exception as error:  # Pillow's list of them is long
            raise self._error('frame {} is damaged'.format(k)) from error
        if picture.shape != (media.FRAME_HEIGHT, media.FRAME_WIDTH, 3):
            raise self._error('frame {} is of another size'.format(k))
        return picture

    def _error(self, reason):
        return CacheError(
            '{}: {}; delete it and run data_prep.cache_clips again'.format(
                self.path, reason))


def _read_index(file):
    """Go through the chunks of an AVI file (RIFF).

    Returns:
        tuple: the place that offsets count from, the index as an array of
        ``_INDEX_ENTRY``, the comment.
    """
    riff, size, kind = struct.unpack('<4sI4s', file.read(12))
    if (riff, kind) != (b'RIFF', b'AVI '):
        raise ValueError('no AVI file')
    start, index, comment = None, None, ''
    place = 12
    while index is None:
        file.seek(place)
        name, size = struct.unpack('<4sI', file.read(_CHUNK_HEADER))
        if name == b'idx1':
            data = file.read(size)
            if len(data) != size:
                raise ValueError('cut short')
            index = numpy.frombuffer(data, _INDEX_ENTRY)
        elif name == b'LIST':
            kind = file.read(4)
            if kind == b'movi':
                start = place + _CHUNK_HEADER
            elif kind == b'INFO':
                comment = _read_comment(file.read(size - 4))
        place += _CHUNK_HEADER + size + size % 2
    if start is None:
        raise ValueError('no data')
    return start, index, comment


def _read_comment(info):
    while info:
        name, size = struct.unpack('<4sI', info[:_CHUNK_HEADER])
        if name == b'ICMT':
            return info[_CHUNK_HEADER:_CHUNK_HEADER + size].rstrip(
                b'\0').decode('utf-8', 'replace')
        info = info[_CHUNK_HEADER + size + size % 2:]
    return ''
