"""What the tests share: real clips made on the spot, weights, the samples."""

import os
import subprocess
import sys

import chainer_impression  # NOQA: F401  (makes Chainer importable)
import numpy
import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@pytest.fixture(scope='session')
def samples():
    """The folder of real clips and labels, which are not to be published."""
    folder = os.environ.get('FIRST_IMPRESSIONS_SAMPLES')
    if not folder:
        pytest.skip('FIRST_IMPRESSIONS_SAMPLES is not set; it names a folder '
                    'with clips/ and labels/ of the real data set')
    if not os.path.isdir(folder):
        pytest.fail('FIRST_IMPRESSIONS_SAMPLES names {}, which is no folder'
                    .format(folder))
    return folder


@pytest.fixture(scope='session')
def run_python():
    """Run Python in a process of its own, from outside the repository.

    ``run_python(*arguments, cwd=…, timeout=…, **environment)``; an
    environment variable of None is removed. Gives the completed process.
    """
    def run(*arguments, cwd=ROOT, timeout=120, **environment):
        env = dict(os.environ, PYTHONPATH=ROOT, PYTHONIOENCODING='utf-8')
        for name, value in environment.items():
            env.pop(name, None)
            if value is not None:
                env[name] = str(value)
        return subprocess.run(
            [sys.executable, *map(str, arguments)], cwd=str(cwd), env=env,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, encoding='utf-8', timeout=timeout)
    return run


@pytest.fixture(scope='session')
def ffmpeg():
    """Run the ffmpeg that moviepy brings; its output comes back as bytes."""
    from chainer_impression import media

    def run(*arguments, input=b''):
        done = subprocess.run(
            [media.ffmpeg_binary(), '-hide_banner', '-loglevel', 'error',
             '-y', *map(str, arguments)],
            input=input, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert done.returncode == 0, done.stderr.decode('utf-8', 'replace')
        return done.stdout
    return run


@pytest.fixture(scope='session')
def make_clip(ffmpeg):
    """Write a clip of a test picture and a tone, a tenth of a second's work.

    ``make_clip(path, …)`` gives the path back.
    """
    def make(path, seconds=0.4, size='64x48', rate=25, sample_rate=16000,
             channels=1, picture=True, sound=True, options=()):
        arguments = []
        if picture:
            arguments += ['-f', 'lavfi', '-i', 'testsrc=s={}:r={}:d={}'.format(
                size, rate, seconds)]
        if sound:
            # A tone of another height in each channel.
            tones = '|'.join('0.2*sin({}*t)'.format(2500 + 800 * channel)
                             for channel in range(channels))
            arguments += ['-f', 'lavfi', '-i', 'aevalsrc={}:s={}:d={}'.format(
                tones, sample_rate, seconds)]
        ffmpeg(*arguments, '-pix_fmt', 'yuv420p', *options, path)
        return path
    return make


@pytest.fixture(scope='session')
def make_grey_clip(ffmpeg):
    """Write a clip without sound whose picture k is a plane of grey level k.

    ``make_grey_clip(path, levels, rate, options)``.
    """
    def make(path, levels, rate, options=(), size=(64, 48)):
        width, height = size
        pictures = numpy.empty((len(levels), height, width, 3), numpy.uint8)
        pictures[:] = numpy.reshape(levels, (-1, 1, 1, 1))
        ffmpeg('-f', 'rawvideo', '-pix_fmt', 'rgb24',
               '-s', '{}x{}'.format(width, height), '-r', rate, '-i', '-',
               '-c:v', 'libx264', '-qp', 0, '-pix_fmt', 'yuv444p', *options,
               path, input=pictures.tobytes())
        return path
    return make


@pytest.fixture(scope='session')
def clip(make_clip, tmp_path_factory):
    """A short clip that nothing is wrong with: 0.4 s, ten pictures."""
    return make_clip(tmp_path_factory.mktemp('clip') / 'good.mp4')


@pytest.fixture(scope='session')
def network():
    """A network of fixed random weights; tests must not change it.

    Its weights are fresh, but for those of the last layer: with theirs every
    trait would be 0 or 1, whatever the clip.
    """
    from chainer_impression import AudiovisualStream
    numpy.random.seed(2016)
    network = AudiovisualStream()
    network.fc.W.array /= 5000
    return network


@pytest.fixture(scope='session')
def weights(network, tmp_path_factory):
    """The freshly initialised weights of :func:`network`, in a file."""
    import chainer
    path = tmp_path_factory.mktemp('weights') / 'fresh.npz'
    chainer.serializers.save_npz(str(path), network, compression=False)
    return path
