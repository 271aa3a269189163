"""A clip on disk: to audio at 16 kHz and frames at 25 per second (P 3).

The decoder is the ffmpeg that moviepy brings along, so no system package is
needed. It is run here directly rather than through moviepy's readers: those
repeat the last frame where a file ends early, take the container's average
for a variable frame rate, stop at chapters, and wait for ever on a file whose
damage fills the pipe of messages.
"""

import contextlib
import errno
import os
import re
import signal
import stat
import subprocess
import tempfile

import numpy

from chainer_impression.errors import ImpressionError

SAMPLE_RATE = 16000  # Hz (P 3)
FRAME_RATE = 25  # frames per second (P 3)
FRAME_WIDTH = 456  # pixels (P 3)
FRAME_HEIGHT = 256  # pixels; the aspect ratio is not kept (P 3)
SAMPLES_PER_FRAME = SAMPLE_RATE // FRAME_RATE

#: Frames that are decoded and handed on at a time.
CHUNK = 32

#: A clip may end this much before the duration that its header states: the
#: last frame, the priming of the sound and rounding come to less than that.
_TOLERANCE = 0.5  # seconds

#: How much of the other track's length a whole sound or picture must have.
SHORTEST_TRACK = 0.5

#: Frame k is the picture shown at k / 25 s: rounding up gives an output time
#: the last picture that began before it. Pictures that are not used are
#: dropped before they are scaled.
AT_FRAME_RATE = 'fps=fps={}:round=up:start_time=0'.format(FRAME_RATE)
SCALED = 'scale={}:{}:flags=bicubic'.format(FRAME_WIDTH, FRAME_HEIGHT)
#: Any number of channels to one, their mean (for stereo), never above 1.
_TO_MONO = ('aresample=out_chlayout=mono:out_sample_fmt=flt'
            ':rematrix_maxval=1.0')

#: What a file under any name may turn out to be. Left out are formats that
#: make ffmpeg open other files, such as playlists, and those that it finds in
#: any text.
_FORMATS = ('mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,'
            'flv,asf,ogg,gif,nut,wav,mp3,aac,flac')


class MediaError(ImpressionError):
    """A clip that cannot be read; the message names it and says why."""


def ffmpeg_binary():
    """The path of the ffmpeg that moviepy uses."""
    from moviepy.config import FFMPEG_BINARY
    return FFMPEG_BINARY


def open_clip(path):
    """Open a clip as a plain file of bytes.

    Raises:
        MediaError: there is no such file, or it is no file.
    """
    try:
        # Opening a named pipe would wait for ever.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise MediaError('{}: is a folder or a device, not a clip'.format(
                path))
        return open(path, 'rb')
    except OSError as error:
        raise MediaError('{}: cannot be opened ({})'.format(
            path, error.strerror)) from error


def _input_arguments(path, threads):
    """The arguments by which ffmpeg opens a clip, whatever it is called."""
    # "file:" keeps a name such as "-x.mp4" or "concat:a.mp4" a name.
    return ['-nostdin', '-hide_banner', '-nostats',
            *([] if threads is None else ['-threads', str(threads)]),
            '-protocol_whitelist', 'file,pipe', '-format_whitelist', _FORMATS,
            '-i', 'file:' + os.fspath(path)]


class Decoder:
    """One run of ffmpeg over a clip, its output read as it comes.

    A context manager; leaving it stops ffmpeg.

    Args:
        path: the clip.
        arguments (list of str): what follows the input, up to the output.
        output (str): where ffmpeg writes; ``-`` is :attr:`stdout`.
        stdin: an open file that a second input, ``pipe:0``, reads.
        threads (int): threads that decode; as many as ffmpeg likes if None.

    Raises:
        MediaError: there is no such file, or it is empty.
    """

    def __init__(self, path, arguments, output='-', stdin=subprocess.DEVNULL,
                 threads=None):
        self.path = os.fspath(path)
        with open_clip(path) as file:
            self._head = file.read(8)
        if not self._head:
            raise MediaError('{}: is empty; download it again'.format(path))
        # A file, for a pipe of messages that nobody reads can fill up.
        self._messages = tempfile.TemporaryFile()
        try:
            self._process = subprocess.Popen(
                [ffmpeg_binary(), *_input_arguments(path, threads),
                 *arguments,
                 output if output == '-' else 'file:' + os.fspath(output)],
                stdin=stdin, stdout=subprocess.PIPE,
                stderr=self._messages)
        except OSError as error:
            self._messages.close()
            if error.errno in _SHORTAGES:
                # No clip is to blame, and the next would meet the same.
                raise ImpressionError(
                    '{}: ffmpeg cannot be started, for this machine is out '
                    'of memory, processes or open files ({}); use fewer '
                    '--workers'.format(path, error.strerror)) from error
            raise MediaError(
                '{}: cannot be read, since ffmpeg does not start ({}); '
                'reinstall imageio-ffmpeg, which brings it'.format(
                    path, error.strerror)) from error
        self.stdout = self._process.stdout
        _running.add(self._process)

    def finish(self):
        """Wait for the end of ffmpeg.

        Raises:
            MediaError: ffmpeg could not read the clip.
        """
        self.stdout.read()
        if self._process.wait() != 0:
            raise MediaError(self._explain())

    @property
    def output_error(self):
        """The OSError, if it was not the clip but the output that failed."""
        if self._process.returncode == -signal.SIGXFSZ:
            return OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        # ffmpeg says the system's reason in a line about the output; the same
        # words elsewhere may be the name of the clip.
        for line in self.messages.splitlines():
            for number in _DISK_ERRORS:
                if line.startswith('[out#0/') and os.strerror(number) in line:
                    return OSError(number, os.strerror(number))
        return None

    @property
    def _lacks_stream(self):
        return 'matches no streams' in self.messages

    @property
    def messages(self):
        """What ffmpeg has said so far."""
        self._messages.seek(0)
        return self._messages.read().decode('utf-8', 'replace')

    @property
    def complained(self):
        """Whether ffmpeg has found anything wrong with the clip so far."""
        return any(word in line for line in self.messages.splitlines()
                   if line.startswith('[') and not line.startswith('[out#')
                   for word in _COMPLAINTS)

    @property
    def duration(self):
        """Seconds that the clip's header states, None if it states none."""
        match = re.search(r'^  Duration: (\d+):(\d+):([\d.]+),',
                          self.messages, re.MULTILINE)
        if not match:
            return None
        hours, minutes, seconds = match.groups()
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds)

    @property
    def picture_period(self):
        """Seconds between two pictures, going by the clip's header."""
        match = re.search(r'Stream #0:.*Video:.*? ([\d.]+) fps', self.messages)
        rate = float(match[1]) if match else 0
        return 1 / rate if rate else 0

    @property
    def output_rate(self):
        """Samples per second of the sound that ffmpeg wrote."""
        match = re.search(r'^Output #0[\s\S]*?Audio:.*? (\d+) Hz',
                          self.messages, re.MULTILINE)
        return int(match[1]) if match else None

    def _explain(self):
        messages = self.messages
        if self._lacks_stream:
            # Which one, not every version of ffmpeg says.
            for kind, missing in (('Video', 'picture'), ('Audio', 'sound')):
                if not re.search(r'^  Stream #0:.*: {}: '.format(kind),
                                 messages, re.MULTILINE):
                    return '{}: has no {}; the network needs both'.format(
                        self.path, missing)
        if 'moov atom not found' in messages and \
                self._head[4:8] not in _MP4_BEGINNINGS:
            # Under a name that ends in .mp4, ffmpeg takes anything for one.
            return '{}: {}'.format(self.path, _NO_VIDEO)
        for known, reason in _KNOWN_FAILURES:
            if known in messages:
                return '{}: {}'.format(self.path, reason)
        last = (messages.strip().splitlines() or ['it gave no reason'])[-1]
        return '{}: ffmpeg cannot read it ({})'.format(
            self.path, last.replace('file:' + self.path, 'the file').strip())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        _running.discard(self._process)
        self.stdout.close()
        self._messages.close()


#: What ffmpeg says of a file that is cut short or damaged.
_COMPLAINTS = ('partial file', 'ended prematurely', 'orrupt', 'runcat',
               'nvalid', 'rror', 'missing', 'conceal', 'non-existing',
               'overread', 'exceeds', 'Could not find')

#: What the system says when it is the machine that has reached a limit.
_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM)

#: Types of the part that an mp4 can begin with.
_MP4_BEGINNINGS = (b'ftyp', b'mdat', b'moov', b'free', b'skip', b'wide')
_NO_VIDEO = 'is no video file, whatever its name says'
_KNOWN_FAILURES = (
    ('moov atom not found',
     'is cut short: its table of contents, which an mp4 has at its end, is '
     'missing; download it again'),
    ('Format not on whitelist', _NO_VIDEO),
    ('End of file', 'is cut short; download it again'),
    ('Invalid data found when processing input',
     'is no video file, or a damaged one; download it again'),
)


#: The processes of all decoders that are open, in any thread.
_running = set()

#: What the system says of an output that cannot be written.
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS,
                errno.EACCES, errno.EIO, errno.ENOENT, errno.EISDIR)


def stop_all():
    """Stop every ffmpeg of this process, whichever thread waits for it.

    Whoever reads from one meets the end of its output and a MediaError.
    """
    for process in list(_running):
        with contextlib.suppress(ProcessLookupError):
            process.kill()


def read_audio(path, max_seconds=None):
    """The sound of a clip, all of it.

    Two channels are averaged, more are mixed as ffmpeg does for one
    loudspeaker, without the low-frequency effects. Resampled by soxr in its
    high quality, which is what ``librosa.resample`` calls: the result is the
    same to the bit, without the seconds that importing librosa takes.

    Args:
        path: a clip in any format that ffmpeg reads.
        max_seconds (float): refuse a longer clip, before all of its sound
            is in memory.

    Returns:
        numpy.ndarray: float32 (n_samples,) in [-1, 1], 16 kHz, mono.

    Raises:
        MediaError: the clip cannot be read, has no sound track, is too long,
            or its sound ends well before the duration that its header states.
    """
    limit = [] if max_seconds is None else ['-t', str(max_seconds)]
    with Decoder(path, ['-map', '0:a:0', '-af', _TO_MONO, *limit,
                        '-f', 'f32le']) as decoder:
        raw = decoder.stdout.read()
        decoder.finish()
        rate, duration = decoder.output_rate, decoder.duration
        samples = numpy.frombuffer(raw, '<f4')
        if len(samples) == 0:
            raise MediaError('{}: its sound track is empty'.format(path))
        if max_seconds is not None and len(samples) >= max_seconds * rate:
            raise MediaError('{}: is longer than {:.0f} minutes; cut it into '
                             'clips first'.format(path, max_seconds / 60))
        # Sound that is a little shorter than the picture is common.
        if duration is not None:
            _check_end(path, 'sound', len(samples) / rate,
                       0.9 * duration - _TOLERANCE, decoder)
    return numpy.clip(_resample(samples, rate), -1, 1)


def _resample(samples, rate):
    import soxr
    if rate != SAMPLE_RATE:
        n_samples = -(-len(samples) * SAMPLE_RATE // rate)
        resampled = soxr.resample(samples, rate, SAMPLE_RATE, quality='HQ')
        samples = numpy.zeros(n_samples, numpy.float32)
        kept = min(n_samples, len(resampled))
        samples[:kept] = resampled[:kept]
    return samples


def read_frames(path):
    """The pictures of a clip, as a stream.

    Args:
        path: a clip in any format that ffmpeg reads.

    Yields:
        numpy.ndarray: uint8 (n, 3, 256, 456), RGB, n frames of 25 per second,
        n at most :data:`CHUNK`. Frame k of the clip is the picture shown at
        k / 25 s.

    Raises:
        MediaError: the clip cannot be read, has no picture, or its pictures
            end before the duration that its header states.
    """
    shape = FRAME_HEIGHT, FRAME_WIDTH, 3
    size = int(numpy.prod(shape))
    n_frames = 0
    with Decoder(path, ['-map', '0:v:0', '-vf', AT_FRAME_RATE + ',' + SCALED,
                        '-f', 'rawvideo', '-pix_fmt', 'rgb24']) as decoder:
        while True:
            raw = decoder.stdout.read(CHUNK * size)
            frames = numpy.frombuffer(
                raw, numpy.uint8, len(raw) // size * size).reshape(-1, *shape)
            if len(frames) == 0:
                break
            n_frames += len(frames)
            yield frames.transpose(0, 3, 1, 2)
        decoder.finish()
        check_n_frames(path, n_frames, decoder)


def check_n_frames(path, n_frames, decoder):
    """Compare the frames that came out of a clip with its stated duration.

    Args:
        path: the clip.
        n_frames (int): frames of 25 per second that were decoded.
        decoder (Decoder): the decoder that has finished with it.

    Raises:
        MediaError: there is no frame, or there are too few.
    """
    if n_frames == 0:
        raise MediaError('{}: holds no picture, not even one'.format(path))
    if decoder.duration is not None:
        _check_end(path, 'picture', n_frames / FRAME_RATE,
                   decoder.duration - _TOLERANCE - decoder.picture_period,
                   decoder)


def _check_end(path, what, seconds, least, decoder):
    """Tell a file that was cut short from one with a short track.

    A header states the duration of the longest track. Of a file that ffmpeg
    has no complaint about, each track is whole, and half of the duration is
    enough of a clip; what it complains about must be all there.
    """
    if not decoder.complained:
        least = SHORTEST_TRACK * decoder.duration - decoder.picture_period
    if seconds < least:
        raise MediaError('{}: its {} ends after {:.1f} of {:.1f} s; {}'.format(
            path, what, seconds, decoder.duration,
            'the file is cut short or damaged: download it again'
            if decoder.complained else
            'cut the clip to where it has both sound and picture'))
