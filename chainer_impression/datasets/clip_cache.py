"""The cache: every clip resampled once, read at random for 900 epochs.

A cached clip is an AVI file that any player opens: motion JPEG of 456 x 256
pixels at 25 frames per second, every frame by itself, with 16-bit PCM sound
at 16 kHz (P, section 3). Its index, at its end, gives the place of every frame
and of every stretch of sound, so that any of them is one read away; a file
that was cut short has no index and is found out.

This file alone knows the format: it writes it and reads it.
"""

import hashlib
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

#: ffmpeg's scale of JPEG quality, 2 (best) to 31. At 3 every frame of the two
#: real clips measured has 38 dB or more against the uncompressed one, and 15 s
#: have 5.5 and 6.7 MB; noise and hard edges have fewer dB and more MB.
_JPEG_QUALITY = 3
#: What a second of a cached clip takes, for the estimate of disk space.
BYTES_PER_SECOND = 430_000

_FULL_SCALE = 32768  # of 16-bit PCM
#: Seconds of sound, and then of frames, that lie together in a file. The sound
#: that a training example needs is then in a few places on the disk and not in
#: fifty, between the frames.
_INTERLEAVED = 1
_INDEX_ENTRY = numpy.dtype([('id', 'S4'), ('flags', '<u4'),
                            ('offset', '<u4'), ('size', '<u4')])
_FRAME, _SOUND = b'00dc', b'01wb'
_CHUNK_HEADER = 8  # bytes: an id and a size before the data
#: Of a cached clip everything but the data itself is smaller than this.
_MAX_CHUNK = 8 << 20  # bytes
_MAX_CHUNKS = 16  # at the top of the file; ffmpeg writes six
#: Not even a frame of one colour has a JPEG with so many zeros in a row (2784
#: blocks of two codes, at least one bit each), but a hole in a file has.
_HOLE = bytes(1024)
#: Bytes at either end of a source by which it is known again.
_STAMPED = 1 << 16


class CacheError(ImpressionError):
    """A cached clip that cannot be read; the message names it."""


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
        OSError: the file cannot be written; no clip is to blame.
    """
    # First of all: a source that changes meanwhile is then not current.
    stamp = _stamp(source)
    audio = media.read_audio(source, MAX_SECONDS)
    # A picture may outlast its sound by as much as media admits. More
    # comes from damaged times: a second picture ten hours after the first
    # would fill the disk with copies of the first.
    longest = len(audio) / media.SAMPLE_RATE / media.SHORTEST_TRACK + 2
    with tempfile.TemporaryFile(dir=os.path.dirname(path) or '.') as sound:
        pcm = numpy.rint(audio * _FULL_SCALE)
        # Not tofile: its error does not say what is wrong with the disk.
        sound.write(pcm.clip(-_FULL_SCALE, _FULL_SCALE - 1).astype('<i2'))
        sound.seek(0)
        with media.Decoder(source, _writing_arguments(stamp, longest), path,
                           stdin=sound, threads=1) as decoder:
            clip = _check_written(source, path, decoder)
    if clip.n_frames >= int(longest * media.FRAME_RATE):
        raise media.MediaError(
            '{}: its picture goes on long after its sound, which ends at '
            '{:.1f} s; cut the clip to where it has both'.format(
                source, len(audio) / media.SAMPLE_RATE))
    if clip.n_samples != len(audio):
        raise media.MediaError(
            '{}: ffmpeg kept {} of {} samples of its sound'.format(
                source, clip.n_samples, len(audio)))
    for k in (0, clip.n_frames - 1):
        clip.read_frame(k)
    with open(path, 'rb+') as file:
        os.fsync(file.fileno())


def _check_written(source, path, decoder):
    """Wait for ffmpeg, and tell the faults of the disk from the source's."""
    try:
        decoder.finish()
        clip = CachedClip(path)
    except (media.MediaError, CacheError) as error:
        if decoder.output_error is not None:
            raise decoder.output_error from error
        if isinstance(error, CacheError):
            raise media.MediaError(
                '{}: holds no picture that can be decoded; download it again'
                .format(source)) from error
        raise
    media.check_n_frames(source, clip.n_frames, decoder)
    return clip


def _writing_arguments(stamp, longest):
    """What ffmpeg needs after its first input, the source."""
    scaled = media.SCALED + ':out_color_matrix=bt601:out_range=full'
    return [
        '-f', 's16le', '-ar', str(media.SAMPLE_RATE), '-ac', '1',
        '-i', 'pipe:0', '-map', '0:v:0', '-map', '1:a:0',
        '-vf', media.AT_FRAME_RATE + ',' + scaled,
        # JPEG has the colour matrix of BT.601 whatever the source's was.
        '-pix_fmt', 'yuvj420p', '-c:v', 'mjpeg', '-q:v', str(_JPEG_QUALITY),
        '-c:a', 'copy', '-threads', '1', '-t', str(longest),
        # What is sorted in between the frames by its time, which AVI does not
        # keep: all sound of a second at the beginning of that second, in its
        # order. ffmpeg's chunk_duration, made for this, depends on who of its
        # threads is first.
        '-bsf:a', 'setts=ts=floor(TS/{0})*{0}+mod(TS\\,{0})/64'.format(
            _INTERLEAVED * media.SAMPLE_RATE),
        # Files of the same source are the same to the bit.
        '-map_metadata', '-1', '-bitexact', '-fflags', '+bitexact',
        '-metadata', 'comment=' + stamp, '-f', 'avi', '-y']


def _stamp(source):
    """What a cached clip says about its source, to know it again.

    Its ends stand for all of it, where the containers keep their tables of
    contents: reading ten thousand clips whole at each start takes too long,
    and their times of change do not survive copying.
    """
    with media.open_clip(source) as file:
        try:
            size = os.fstat(file.fileno()).st_size
            ends = file.read(_STAMPED)
            file.seek(max(size - _STAMPED, 0))
            ends += file.read(_STAMPED)
        except OSError as error:  # of the source's disk, not the cache's
            raise media.MediaError('{}: cannot be read ({})'.format(
                source, error.strerror)) from error
    return 'made from {} bytes, {}'.format(
        size, hashlib.sha256(ends).hexdigest()[:16])


def is_current(source, path):
    """Whether ``path`` is a whole cached clip, made from ``source`` as it is.

    Returns:
        bool
    """
    try:
        return CachedClip(path).comment == _stamp(source)
    except (CacheError, media.MediaError):
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
            raise self._error(
                'is cut short, damaged or no cached clip') from error
        frames, sound = (index[index['id'] == i] for i in (_FRAME, _SOUND))
        self._frame_offsets = start + frames['offset'].astype('i8')
        self._frame_sizes = frames['size']
        self._sound_offsets = start + sound['offset'].astype('i8')
        self._sound_sizes = sound['size']
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
                data = _read_chunk(file, _SOUND, self._sound_offsets[i],
                                   self._sound_sizes[i])
                if data is None:
                    raise self._error('its sound is damaged')
                pcm.append(data)
        pcm = numpy.frombuffer(b''.join(pcm), '<i2')
        pcm = pcm[start - begins[first]:stop - begins[first]]
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
        jpeg = _read_chunk(file, _FRAME, self._frame_offsets[k],
                           self._frame_sizes[k])
        # The decoder takes missing data for grey and does not complain.
        if jpeg is None or _HOLE in jpeg:
            raise self._error('frame {} is damaged'.format(k))
        try:
            picture = Image.open(io.BytesIO(jpeg), formats=['JPEG'])
            # Before it is decoded, for damage can make it gigantic.
            if (picture.size, picture.mode) != (
                    (media.FRAME_WIDTH, media.FRAME_HEIGHT), 'RGB'):
                raise ValueError('another size')
            return numpy.asarray(picture)
        except Exception as error:  # Pillow's list of them is long
            raise self._error('frame {} is damaged'.format(k)) from error

    def _error(self, reason):
        return CacheError(
            '{}: {}; delete it and run data_prep.cache_clips again'.format(
                self.path, reason))


def _read_chunk(file, name, place, size):
    """The data of a chunk, None if the file has another one at that place."""
    file.seek(place)
    data = file.read(_CHUNK_HEADER + int(size))
    if data[:_CHUNK_HEADER] != struct.pack('<4sI', name, size) \
            or len(data) != _CHUNK_HEADER + size:
        return None
    return data[_CHUNK_HEADER:]


def _read_index(file):
    """Go through the chunks of an AVI file (RIFF), and mistrust each number.

    Returns:
        tuple: the place that offsets count from, the index as an array of
        ``_INDEX_ENTRY``, the comment.

    Raises:
        ValueError, struct.error: it is not as :func:`write` leaves it.
    """
    file_size = os.fstat(file.fileno()).st_size
    riff, size, kind = struct.unpack('<4sI4s', file.read(12))
    if (riff, size, kind) != (b'RIFF', file_size - _CHUNK_HEADER, b'AVI '):
        raise ValueError('no AVI file of this size')
    found = {}
    place = 12
    for _ in range(_MAX_CHUNKS):
        file.seek(place)
        name, size = struct.unpack('<4sI', file.read(_CHUNK_HEADER))
        if place + _CHUNK_HEADER + size > file_size:
            raise ValueError('goes on after the end')
        if name == b'LIST' and size >= 4:
            name = file.read(4)
        if name == b'movi':
            start, end = place + _CHUNK_HEADER, place + _CHUNK_HEADER + size
        elif name in (b'hdrl', b'INFO', b'idx1') and size <= _MAX_CHUNK:
            found[name] = file.read(size if name == b'idx1' else size - 4)
        elif name != b'JUNK':
            raise ValueError('unknown chunk')
        if name == b'idx1':
            break
        place += _CHUNK_HEADER + size + size % 2
    try:
        index = numpy.frombuffer(found[b'idx1'], _INDEX_ENTRY)
        _check_index(index, end - start, *_stream_lengths(found[b'hdrl']))
        comment = dict(_chunks(found[b'INFO']))[b'ICMT']
    except (KeyError, UnboundLocalError) as error:
        raise ValueError('lacks a part') from error
    return start, index, comment.rstrip(b'\0').decode('utf-8', 'replace')


def _chunks(data):
    """Yield (name, data) for each of the chunks that follow one another."""
    place = 0
    while place < len(data):
        name, size = struct.unpack_from('<4sI', data, place)
        place += _CHUNK_HEADER
        yield name, data[place:place + size]
        place += size + size % 2


def _stream_lengths(header):
    """Check that a header announces a cached clip's picture and sound.

    Returns:
        tuple of int: the frames and the samples that it announces.
    """
    streams = []
    for name, data in _chunks(header):
        if (name, data[:4]) == (b'LIST', b'strl'):
            parts = dict(_chunks(data[4:]))
            streams.append((parts[b'strh'], parts[b'strf']))
    if len(streams) != 2:
        raise ValueError('not two streams')
    (picture, bitmap), (sound, wave) = streams
    # Kind, codec; scale and rate; width, height; codec, channels, rate, bits.
    if (picture[:8], struct.unpack_from('<II', picture, 20),
            struct.unpack_from('<ii', bitmap, 4)) != (
                b'vidsMJPG', (1, media.FRAME_RATE),
                (media.FRAME_WIDTH, media.FRAME_HEIGHT)):
        raise ValueError('another picture')
    if (sound[:4], *struct.unpack_from('<HHI', wave),
            *struct.unpack_from('<H', wave, 14)) != (
                b'auds', 1, 1, media.SAMPLE_RATE, 16):
        raise ValueError('another sound')
    return tuple(struct.unpack_from('<I', stream, 32)[0]
                 for stream in (picture, sound))


def _check_index(index, data_size, n_frames, n_samples):
    """Check that the index covers the data without a gap or an overlap."""
    is_frame, is_sound = index['id'] == _FRAME, index['id'] == _SOUND
    offsets, sizes = index['offset'].astype('i8'), index['size'].astype('i8')
    ends = offsets + _CHUNK_HEADER + sizes + sizes % 2
    if not (len(index) and (is_frame | is_sound).all() and (sizes > 0).all()
            and offsets[0] == 4 and (offsets[1:] == ends[:-1]).all()
            and ends[-1] == data_size
            and is_frame.sum() == n_frames
            and sizes[is_sound].sum() == 2 * n_samples
            and not (sizes[is_sound] % 2).any()):
        raise ValueError('the index does not fit the data')
