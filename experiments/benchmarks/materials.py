"""What the parts of the benchmark work on: clips, cached clips, weights."""

import functools
import glob
import os
import re
import shutil
import subprocess

import chainer_impression
import chainer
import numpy

from benchmarks.examples import training_examples
from chainer_impression import media
from chainer_impression.datasets import clip_cache
from chainer_impression.errors import ImpressionError
from chainer_impression.links.fast_links import BatchNormalization
from chainer_impression.links.weights import save_weights
from data_prep import demo_plan, make_demo_clips

#: The shape of the challenge's clips.
DEMO_SIZE = '1280:720'
DEMO_SECONDS = 15.
#: About what the challenge's clips have.
DEMO_BIT_RATE = '1600k'


class Materials:
    """Made when they are first asked for, in a folder of the benchmark's own.

    Args:
        folder: a temporary folder.
        clips (list): clips to use; those of the environment variable
            FIRST_IMPRESSIONS_SAMPLES, or a drawn one, if there is none.
        quick (bool): a short, small drawn clip.
        n_cached (int): cached clips that examples are read from.
    """

    def __init__(self, folder, clips, quick, n_cached):
        self.folder, self.quick = folder, quick
        self._clips, self.n_cached = clips, n_cached

    def path(self, name):
        """A path in the folder."""
        return os.path.join(self.folder, name)

    @functools.cached_property
    def clips(self):
        """Paths of clips, at least one."""
        samples = os.environ.get('FIRST_IMPRESSIONS_SAMPLES')
        found = self._clips or (samples and sorted(glob.glob(
            os.path.join(glob.escape(samples), 'clips', '*.mp4'))))
        if not found:
            return [self._draw_clip()]
        return [os.path.abspath(clip) for clip in found]

    @property
    def description(self):
        """Which clips they are, in a sentence."""
        what = 'a drawn clip' if self.clips[0].startswith(
            self.folder + os.sep) else '{} real clip{}'.format(
                len(self.clips), 's'[:len(self.clips) > 1])
        return 'clips: {} of {}'.format(what, ', '.join(sorted({
            '{1}x{2}, {0:.1f} s'.format(duration(c), *picture_size(c))
            for c in self.clips})))

    def _draw_clip(self):
        from pathlib import Path
        drawn, clip = self.path('drawn.mp4'), self.path('demo.000.mp4')
        seconds = 3.5 if self.quick else DEMO_SECONDS
        make_demo_clips.write_clip(
            Path(drawn), demo_plan.plan(demo_plan.MIN_CLIPS, 0)[0], seconds, 0)
        # Drawn planes are easy to decode; noise makes them as hard as a
        # camera's pictures.
        run_ffmpeg('-i', drawn, '-vf', 'scale={},noise=alls=8:allf=t'.format(
            '320:180' if self.quick else DEMO_SIZE), '-c:v', 'libx264',
            '-b:v', DEMO_BIT_RATE, '-pix_fmt', 'yuv420p', '-c:a', 'copy', clip)
        return clip

    def cut(self, seconds):
        """A clip of about that length, its packets those of the first clip.

        Longer than the clip, it is the clip over and over.
        """
        path = self.path('cut-{:g}.mp4'.format(seconds))
        if not os.path.exists(path):
            run_ffmpeg('-stream_loop', '-1', '-i', self.clips[0], '-t',
                       str(seconds), '-c', 'copy', path)
        return path

    @functools.cached_property
    def cached(self):
        """Clip to its cached clip."""
        cached = {}
        for clip in self.clips:
            cached[clip] = self.path(os.path.basename(clip) + '.avi')
            clip_cache.write(clip, cached[clip])
        return cached

    @functools.cached_property
    def cache(self):
        """A folder of many cached clips: copies, each on its own on disk."""
        folder = self.path('cache')
        os.mkdir(folder)
        sources = list(self.cached.values())
        for i in range(self.n_cached):
            path = os.path.join(folder, 'copy.{:03}.mp4.avi'.format(i))
            shutil.copyfile(sources[i % len(sources)], path)
            with open(path, 'rb+') as file:
                os.fsync(file.fileno())  # unwritten pages cannot be dropped
        return folder

    @functools.cached_property
    def batch(self):
        """An npz file of training examples: audio, frames, traits."""
        path = self.path('batch.npz')
        examples = training_examples(self.cache)
        n = 2 if self.quick else 32
        audio, frames, traits = map(numpy.stack, zip(
            *(examples[i] for i in range(n))))
        numpy.savez(path, audio=audio, frames=frames, traits=traits)
        return path

    @functools.cached_property
    def weights(self):
        """Weights of a network whose batch normalisation fits the examples.

        Fresh weights would drive every trait to 0 or 1, where all engines
        agree.
        """
        path = self.path('weights.npz')
        numpy.random.seed(2016)
        model = chainer_impression.AudiovisualStream()
        normalizations = [link for link in model.links()
                          if isinstance(link, BatchNormalization)]
        for link in normalizations:
            link.decay = 0.  # this batch's statistics and no others
        with numpy.load(self.batch) as file, chainer.no_backprop_mode(), \
                chainer.using_config('train', True):
            model(file['audio'][:8], file['frames'][:8])
        save_weights(path, model)
        return path

    @functools.cached_property
    def frames(self):
        """A npy file of frames, uint8 (n, 3, 256, 456)."""
        path = self.path('frames.npy')
        stream = media.read_frames(self.clips[0])
        numpy.save(path, numpy.ascontiguousarray(next(stream)))
        stream.close()
        return path


def run_ffmpeg(*arguments):
    """Run ffmpeg to its end.

    Raises:
        ImpressionError: it fails.
    """
    done = subprocess.run(
        [media.ffmpeg_binary(), '-nostdin', '-hide_banner', '-loglevel',
         'error', '-y', *arguments], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, encoding='utf-8', errors='replace')
    if done.returncode:
        raise ImpressionError('ffmpeg failed ({})'.format(
            ' '.join(done.stderr.split())[-300:]))


def _header(clip):
    with media.Decoder(clip, ['-t', '0', '-f', 'null']) as decoder:
        decoder.finish()
        return decoder.messages, decoder.duration


def duration(clip):
    """Seconds that a clip's header states."""
    return _header(clip)[1]


def picture_size(clip):
    """(width, height) that a clip's header states, in pixels."""
    match = re.search(r'Video:.*?, (\d+)x(\d+)', _header(clip)[0])
    return int(match[1]), int(match[2])
