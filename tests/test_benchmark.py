"""The benchmark: every part runs, and says what it does not compare with."""

import json
import math
import os
import sys

import numpy
import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SCRIPT = os.path.join(ROOT, 'experiments', 'benchmark.py')
PARTS = ['caching', 'quality', 'examples', 'training', 'frames', 'clips',
         'device']


@pytest.fixture(scope='module')
def benchmarks():
    """The folder of the benchmark's parts, importable as by the script."""
    sys.path.insert(0, os.path.join(ROOT, 'experiments'))
    yield
    sys.path.remove(os.path.join(ROOT, 'experiments'))


@pytest.fixture(scope='module')
def result(run_python, make_clip, tmp_path_factory):
    """What a quick run of everything prints and writes."""
    out = tmp_path_factory.mktemp('benchmark')
    clip = make_clip(out / 'a clip.mp4', seconds=3.5, size='320x180')
    done = run_python(SCRIPT, '--quick', '--json', '--out', out / 'out',
                      '--clips', clip, timeout=280)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), out / 'out'


def test_every_part_has_figures(result):
    found, _ = result
    assert [part['part'] for part in found['parts']] == PARTS
    for part in found['parts']:
        assert part['title'] and part['rows']
        for row in part['rows']:
            assert set(row) == {'what', 'value', 'unit', 'low', 'high', 'n',
                                'goal', 'met', 'note'}
            assert row['n'] >= 1
            assert math.isfinite(row['value'])
            assert row['low'] <= row['value'] <= row['high']
            assert (row['goal'] is None) == (row['met'] is None)
        for growth in part['growth']:
            assert all(points for points in growth['peers'].values())


def test_conditions_are_stated(result):
    found, _ = result
    machine = found['machine']
    assert machine['processor'] and machine['cores'] >= 1
    assert {'python', 'chainer', 'numpy', 'ffmpeg'} <= set(
        machine['versions'])
    conditions = ' '.join(found['conditions'])
    assert '320x180' in conditions
    assert 'load of the machine' in conditions
    assert '--quick' in conditions


def test_engines_agree(result):
    found, _ = result
    rows = {row['what']: row for part in found['parts']
            for row in part['rows']}
    stock = rows['largest difference of a trait: stock Chainer from Chainer']
    assert stock['met'] is True
    assert all(row['met'] for what, row in rows.items()
               if what.startswith('largest difference') and row['goal'])


def test_files(result):
    found, out = result
    assert json.loads((out / 'benchmark.json').read_text()) == found
    assert (out / 'growth.png').read_bytes().startswith(b'\x89PNG')
    markdown = (out / 'benchmark.md').read_text()
    for part in found['parts']:
        assert '**{}**'.format(part['title']) in markdown
    for line in markdown.splitlines():
        if line.startswith('| a training example out of the cache'):
            assert line.count('|') == 6


def test_torch_network_is_ours(benchmarks, tmp_path):
    torch = pytest.importorskip('torch')
    import chainer
    from benchmarks.torch_network import AudiovisualNetwork, TorchPredictor

    from chainer_impression import AudiovisualStream
    numpy.random.seed(1)
    model = AudiovisualStream()
    random = numpy.random.default_rng(1)
    # Lengths of which cover_all makes more than other frameworks do.
    audio = random.uniform(-1, 1, (2, 1, 1, 50176)).astype('f')
    frames = random.uniform(0, 255, (2, 3, 224, 224)).astype('f')
    for link in model.links():
        if isinstance(link, chainer.links.BatchNormalization):
            link.decay = 0.
    with chainer.no_backprop_mode(), chainer.using_config('train', True):
        model(audio, frames)
    path = str(tmp_path / 'weights.npz')
    chainer.serializers.save_npz(path, model)
    network = AudiovisualNetwork(path)

    with chainer.no_backprop_mode(), chainer.using_config('train', True):
        expected = model(audio, frames).array
    with torch.no_grad():
        actual = network.train()(*map(torch.from_numpy, (audio, frames)))
    numpy.testing.assert_allclose(actual.numpy(), expected, atol=1e-4)

    network = AudiovisualNetwork(path)
    chainer.serializers.load_npz(path, model)
    predictor = TorchPredictor(network, model.aud.geometry())
    for n_samples, height, width in (4099, 63, 66), (16000, 60, 101):
        clip = (random.uniform(-1, 1, n_samples).astype('f'),
                random.integers(0, 256, (3, 3, height, width), 'u1'))
        numpy.testing.assert_allclose(
            predictor.extract_features(*clip), model.extract_features(*clip),
            rtol=1e-3, atol=1e-3)
        numpy.testing.assert_allclose(
            predictor.predict(*clip), model.predict(*clip), atol=1e-4)


def test_missing_peers_are_named(run_python, clip, tmp_path):
    for package in ('torch', 'onnxruntime', 'openvino'):
        (tmp_path / package).mkdir()
        (tmp_path / package / '__init__.py').write_text(
            'raise ImportError("not here", name={!r})\n'.format(package))
    done = run_python(
        SCRIPT, '--quick', '--only', 'frames', '--json', '--clips', clip,
        PYTHONPATH=os.pathsep.join([str(tmp_path), ROOT]))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found['missing']) == {
        'PyTorch', 'OpenVINO', 'OpenVINO bfloat16', 'onnxruntime'}
    assert all('pip install' in sentence
               for sentence in found['missing'].values())
    assert 'Traceback' not in done.stderr


@pytest.mark.parametrize('arguments, sentence', [
    (['--only', 'nothing'], "there is no part 'nothing'"),
    (['--clips', 'nosuch.mp4'], 'nosuch.mp4: cannot be opened'),
    (['--only', 'device', '--quick', '--device', '7'], 'no such device'),
])
def test_failures_are_one_sentence(run_python, clip, arguments, sentence):
    if '--clips' not in arguments:
        arguments = [*arguments, '--clips', clip]
    done = run_python(SCRIPT, *arguments)
    assert done.returncode != 0
    assert sentence in done.stderr
    assert 'Traceback' not in done.stderr


def test_ratios_are_of_pairs(benchmarks):
    from benchmarks import measure
    seconds = iter([1., 2., 10., 40.])
    measured = measure.in_turns(
        dict.fromkeys(('a', 'b'), lambda: next(seconds)), 2)
    assert measured == {'a': [1., 10.], 'b': [2., 40.]}
    row = measure.row('b against a', measure.ratios(
        measured['b'], measured['a']), 'times', at_most=2.5)
    assert (row['low'], row['value'], row['high']) == (2, 3, 4)
    assert row['met'] is False


class _Peer:
    """Takes a second for each unit of size."""

    def __init__(self, name, speed):
        self.name, self.speed, self.peak, self.calls = name, speed, 1000, []

    def run(self, size):
        self.calls.append(size)
        return {'seconds': size / self.speed, 'result': size}


def test_slow_peers_sit_out_large_sizes(benchmarks):
    from benchmarks import measure
    slow, fast = _Peer('slow', 1), _Peer('fast', 100)
    measured = measure.grid(
        [slow, fast], [1, 4, 16], lambda n: (n,), 3, limit=10)
    assert list(measured['slow']) == [1, 4]
    assert list(measured['fast']) == [1, 4, 16]
    rows = measure.comparisons(measured, 'fast', ['slow', 'absent'], 'at {}')
    assert [row['what'] for row in rows] == ['at 4: fast against slow']
    assert rows[0]['value'] == pytest.approx(100)
    growth = measure.growth('a', 'b', measured)
    assert [point[0] for point in growth['peers']['slow']] == [1, 4]
