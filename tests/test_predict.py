"""``experiments/predict.py`` as a person types it and a program reads it."""

import contextlib
import json
import math
import os
import re
import shutil
import signal
import struct
import subprocess
import sys

import chainer
import numpy
import pytest

from chainer_impression import AudiovisualStream, media
from chainer_impression.links.weights import save_weights
from chainer_impression.traits import TRAITS

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PREDICT = os.path.join(ROOT, 'experiments', 'predict.py')


@pytest.fixture
def predict(run_python, tmp_path):
    """Run the command in an empty folder; gives the completed process."""
    def predict(*arguments, **keywords):
        done = run_python(PREDICT, *arguments, cwd=tmp_path, **keywords)
        assert 'Traceback' not in done.stderr, done.stderr
        return done
    return predict


def objects(done):
    return [json.loads(line) for line in done.stdout.splitlines()]


def messages(done):
    """What was said on the error stream, but for the progress and warnings."""
    return [line for line in done.stderr.splitlines()
            if line.startswith('predict.py: ')]


# --- what goes well ----------------------------------------------------------

def test_json(predict, clip, weights, network):
    done = predict(clip, '--weights', weights, '--json', '--engine', 'chainer')
    assert done.returncode == 0, done.stderr
    one, = objects(done)
    assert list(one) == ['clip', 'traits']
    assert one['clip'] == str(clip)
    assert list(one['traits']) == list(TRAITS)
    wanted = network.predict(media.read_audio(clip), media.read_frames(clip))
    numpy.testing.assert_allclose(
        list(one['traits'].values()), wanted, atol=1e-5)
    for value in one['traits'].values():
        # Neither 0 nor 1, where every clip would look the same.
        assert isinstance(value, float) and 0.01 < value < 0.99


def test_table(predict, clip, weights):
    done = predict(clip, '--weights', weights)
    assert done.returncode == 0, done.stderr
    name, *rows, note = done.stdout.splitlines()
    assert name == str(clip)
    assert [row.split()[0] for row in rows] == list(TRAITS)
    for row in rows:
        number, bar = re.fullmatch(
            r'  \w+ +(\d\.\d{3})  \|(#* *)\|(?:  high means stable)?',
            row).groups()
        assert len(bar) == 20
        assert bar.count('#') == pytest.approx(20 * float(number), abs=0.51)
    assert [trait for trait, row in zip(TRAITS, rows)
            if 'high means stable' in row] == ['neuroticism']
    assert 'neuroticism is labelled the other way round' in note


@pytest.mark.skipif(os.name == 'nt', reason='terminals of Unix')
@pytest.mark.parametrize('options', [[], ['--json']])
def test_progress_bar_and_results_share_a_terminal(clip, weights, options):
    fcntl, termios = map(pytest.importorskip, ('fcntl', 'termios'))
    terminal, end = os.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack('4H', 24, 80, 0, 0))
    done = subprocess.Popen(
        [sys.executable, PREDICT, str(clip), 'missing.mp4', str(clip),
         '--weights', str(weights), *options],
        env=dict(os.environ, PYTHONPATH=ROOT), stdin=subprocess.DEVNULL,
        stdout=end, stderr=end)
    os.close(end)
    shown = b''
    with contextlib.suppress(OSError):  # what Linux says of the end
        while part := os.read(terminal, 4096):
            shown += part
    os.close(terminal)
    assert done.wait() == 1
    # What is left of a line after the cursor has gone back to its start.
    lines = [line.rpartition('\r')[2]
             for line in shown.decode().replace('\r\n', '\n').split('\n')]
    first = ['{"clip": '] if options else [str(clip), '  extraversion']
    for beginning in first:
        assert sum(line.startswith(beginning) for line in lines) == 2, shown
    assert any(line.startswith('predict.py: missing.mp4') for line in lines)
    assert 'predicting: 100%' in shown.decode()


def test_good_and_bad_clips_in_one_call(
        predict, make_clip, clip, weights, tmp_path):
    bad = {
        'missing.mp4': 'No such file', 'empty.mp4': 'is empty',
        'text.mp4': 'is no video file', 'mute.mp4': 'has no sound',
        'blind.mp4': 'has no picture', 'cut.mp4': 'is cut short',
        'short.mkv': 'audio of 48 samples is shorter than the first kernel',
        'folder.mp4': 'is a folder or a device',
    }
    (tmp_path / 'empty.mp4').touch()
    (tmp_path / 'text.mp4').write_text('text ' * 100)
    (tmp_path / 'folder.mp4').mkdir()
    make_clip(tmp_path / 'mute.mp4', sound=False)
    make_clip(tmp_path / 'blind.mp4', picture=False)
    make_clip(tmp_path / 'short.mkv', seconds=0.003,
              options=('-c:a', 'pcm_s16le'))
    content = clip.read_bytes()
    (tmp_path / 'cut.mp4').write_bytes(content[:content.index(b'moov') - 4])
    good = ['first good.mp4', 'last good.mp4']
    for name in good:
        shutil.copy(clip, tmp_path / name)

    done = predict(good[0], *bad, good[1], '--weights', weights, '--json')
    assert done.returncode == 1
    assert [one['clip'] for one in objects(done)] == good
    assert len(messages(done)) == len(bad)
    for (name, reason), line in zip(bad.items(), messages(done)):
        assert line.startswith('predict.py: {}: '.format(name))
        assert reason in line


def test_only_bad_clips_print_no_note(predict, weights):
    done = predict('missing.mp4', '--weights', weights)
    assert (done.returncode, done.stdout) == (1, '')
    assert len(messages(done)) == 1


def test_names(predict, clip, weights, tmp_path):
    names = ['a name with spaces.mp4', 'it\'s "quoted".mp4',
             'Zoë 日本語.mp4', '-x.mp4', '--json']
    for name in names:
        shutil.copy(clip, tmp_path / name)
    done = predict('--weights', weights, '--json', '--', *names)
    assert done.returncode == 0, done.stderr
    assert [one['clip'] for one in objects(done)] == names


@pytest.mark.skipif(sys.platform != 'linux', reason='names of Linux')
def test_names_that_are_no_text(run_python, clip, weights, tmp_path):
    name = b'caf\xe9.mp4'  # latin-1, as old discs have it
    shutil.copy(clip, os.fsencode(tmp_path) + b'/' + name)
    done = subprocess.run(
        [sys.executable, PREDICT, '--weights', str(weights), name,
         b'missing\xe9.mp4'],
        cwd=str(tmp_path), env=dict(os.environ, PYTHONPATH=ROOT),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE)
    assert b'Traceback' not in done.stderr, done.stderr
    assert done.returncode == 1
    assert b'extraversion' in done.stdout


def test_plain_terminal(predict, clip, weights, tmp_path):
    # A terminal that knows ASCII only, as under cron.
    shutil.copy(clip, tmp_path / 'Zoë.mp4')
    done = predict('Zoë.mp4', '--weights', weights, PYTHONIOENCODING='ascii',
                   PYTHONUTF8='0', LC_ALL='C')
    assert done.returncode == 0, done.stderr
    assert 'extraversion' in done.stdout


def test_from_another_folder_without_pythonpath(clip, weights, tmp_path):
    done = subprocess.run(
        [sys.executable, os.path.relpath(PREDICT, tmp_path), '--help'],
        cwd=str(tmp_path), encoding='utf-8', stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={k: v for k, v in os.environ.items() if k != 'PYTHONPATH'})
    if 'No module named' in done.stderr:
        pytest.skip('the library is not installed here')
    assert done.returncode == 0


def test_help(predict):
    done = predict('--help')
    assert done.returncode == 0
    for word in ('CLIP', '--weights', '--json', '--device', '(default: -1)',
                 'model', 'other way round'):
        assert word in done.stdout


def test_released_name_and_snapshot(predict, network, clip, tmp_path):
    chainer.serializers.save_npz(str(tmp_path / 'model.npz'), network)
    os.rename(tmp_path / 'model.npz', tmp_path / 'model')
    values = {'updater/model:main/' + k: v for k, v in
              chainer.serializers.npz.serialize(network).items()}
    with open(tmp_path / 'snapshot_iter_9', 'wb') as file:
        numpy.savez(file, **values)
    one, other = (predict(clip, '--weights', name, '--json')
                  for name in ('model', 'snapshot_iter_9'))
    assert one.returncode == 0, one.stderr
    assert other.returncode == 0, other.stderr
    assert one.stdout == other.stdout


# --- what goes wrong ---------------------------------------------------------

def test_refuses_without_weights(predict, clip):
    done = predict(clip)
    assert (done.returncode, done.stdout) == (2, '')
    assert '--weights' in done.stderr


def test_refuses_without_clips(predict, weights):
    assert predict('--weights', weights).returncode == 2


def refused(done, reason):
    assert (done.returncode, done.stdout) == (1, ''), done.stderr
    line, = messages(done)
    assert reason in line


def test_weights_that_are_none(predict, clip, tmp_path):
    (tmp_path / 'text.npz').write_text('no weights')
    for name, reason in (('text.npz', 'is no file of weights'),
                         ('missing.npz', 'No such file'),
                         ('.', 'Is a directory')):
        done = predict(clip, '--weights', name)
        refused(done, '{}: '.format(name))
        refused(done, reason)


def test_weights_of_another_network(predict, clip, tmp_path):
    save_weights(tmp_path / 'one trait.npz', AudiovisualStream(n_traits=1))
    refused(predict(clip, '--weights', 'one trait.npz'),
            'one trait.npz: holds a network that predicts 1 of the traits')


def test_weights_that_hold_nan(predict, network, clip, tmp_path):
    values = dict(chainer.serializers.npz.serialize(network))
    values['fc/b'] = numpy.full(5, math.nan, 'f4')
    numpy.savez(tmp_path / 'nan.npz', **values)
    refused(predict(clip, '--weights', 'nan.npz'), 'not finite')


def test_weights_that_diverged(predict, network, clip, tmp_path):
    values = dict(chainer.serializers.npz.serialize(network))
    # Finite, but the sum of what they give is not.
    values['fc/W'] = numpy.full((5, 512), 3e38, 'f4')
    values['fc/W'][:, ::2] *= -1
    numpy.savez(tmp_path / 'diverged.npz', **values)
    done = predict(clip, '--weights', 'diverged.npz', '--json')
    refused(done, 'its traits are no numbers')


def test_device_that_is_not_there(predict, clip, weights):
    for name in ('@cupy:99', 'gpu'):
        refused(predict(clip, '--weights', weights, '--device', name),
                '--device {}: there is no such device'.format(name))


# --- what may happen meanwhile -----------------------------------------------

def start(*arguments, **keywords):
    return subprocess.Popen(
        [sys.executable, PREDICT, *map(str, arguments)],
        env=dict(os.environ, PYTHONPATH=ROOT), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding='utf-8',
        **keywords)


@pytest.mark.skipif(os.name == 'nt', reason='signals of Unix')
def test_ctrl_c(clip, weights):
    process = start(*[clip] * 500, '--weights', weights, '--json')
    assert process.stdout.readline().startswith('{')
    # A terminal sends it to ffmpeg too; here to Python alone.
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert 'Traceback' not in errors
    assert errors.splitlines()[-1] == 'predict.py: stopped'


@pytest.mark.skipif(os.name == 'nt', reason='pipes of Unix')
@pytest.mark.parametrize('options', [['--json'], []])
def test_output_to_head(clip, weights, options):
    process = start(*[clip] * 3, '--weights', weights, *options)
    if options:
        assert process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 1
    assert 'Traceback' not in errors and 'Exception ignored' not in errors


@pytest.mark.skipif(os.name == 'nt', reason='a shell of Unix')
@pytest.mark.parametrize('closed', ['>&-', '2>&-', '>&- 2>&-'])
def test_closed_streams(clip, weights, closed):
    done = subprocess.run(
        ['sh', '-c', '"$@" ' + closed, 'sh', sys.executable, PREDICT,
         str(clip), '--weights', str(weights)],
        env=dict(os.environ, PYTHONPATH=ROOT), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, encoding='utf-8')
    assert done.returncode == 0
    assert 'Traceback' not in done.stderr


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='no /dev/full')
def test_output_to_a_full_disk(clip, weights):
    with open('/dev/full', 'w') as full:
        done = subprocess.run(
            [sys.executable, PREDICT, str(clip), '--weights', str(weights)],
            env=dict(os.environ, PYTHONPATH=ROOT), stdout=full,
            stderr=subprocess.PIPE, encoding='utf-8')
    assert done.returncode == 1
    assert 'Traceback' not in done.stderr
    assert 'the disk is full' in done.stderr


# --- memory ------------------------------------------------------------------

PEAK = '''
import resource, runpy, sys
sys.argv = ['predict.py', *sys.argv[1:]]
try:
    runpy.run_path({!r}, run_name='__main__')
finally:
    # Its own and that of the greatest ffmpeg.
    print(sum(resource.getrusage(who).ru_maxrss for who in (
        resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)), file=sys.stderr)
'''.format(PREDICT)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != 'linux', reason='kilobytes of Linux')
@pytest.mark.parametrize('times', [1, 10])
def test_peak_memory(samples, predict, run_python, ffmpeg, weights, tmp_path,
                     times):
    folder = os.path.join(samples, 'clips')
    clips = [os.path.join(folder, name) for name in sorted(os.listdir(folder))]
    if times > 1:
        # One clip ten times over, its pictures as they are.
        ffmpeg('-stream_loop', times - 1, '-i', clips[0], '-c', 'copy',
               tmp_path / 'long.mp4')
        clips = [tmp_path / 'long.mp4']
    done = run_python('-c', PEAK, *clips, '--weights', weights, '--json',
                      timeout=1800)
    assert done.returncode == 0, done.stderr
    assert len(objects(done)) == len(clips)
    peak = int(done.stderr.splitlines()[-1])  # kilobytes
    assert peak < 1.2e9 / 1024
