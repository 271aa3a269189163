"""The export: the same predictions without Chainer or this project."""

import json
import os
import subprocess
import sys

import chainer_impression  # NOQA: F401  (makes Chainer importable)
import chainer
import chainer.functions as F
import chainer.links as L
import numpy
import pytest
from chainer_impression.links.weights import save_weights
from chainer_impression.traits import NEUROTICISM_NOTE, TRAITS
from trained_network import ENVIRONMENT, ROOT, noise, trained_network

onnx = pytest.importorskip('onnx', reason="pip install '.[cpu]' brings onnx")
onnxruntime = pytest.importorskip(
    'onnxruntime', reason='onnxruntime is not installed')

from chainer_impression.engines import graph  # NOQA: E402

EXPORT = os.path.join(ROOT, 'experiments', 'export_onnx.py')

#: A program that has nothing but the exported file and an ONNX runtime.
OTHER_PROGRAM = '''
import json, sys
for module in ('chainer', 'chainer_impression', 'onnx'):
    sys.modules[module] = None  # wherever they are installed
import numpy, onnxruntime
session = onnxruntime.InferenceSession(
    sys.argv[1], providers=['CPUExecutionProvider'])
clip = numpy.load(sys.argv[2])
traits, = session.run(['traits'], {
    'audio': clip['audio'], 'frames': clip['frames']})
order = json.loads(session.get_modelmeta().custom_metadata_map['trait_order'])
print(json.dumps(dict(zip(order, traits.tolist()))))
'''


def session(proto):
    return onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=['CPUExecutionProvider'])


@pytest.fixture(scope='module')
def model():
    return trained_network(scale=3)


@pytest.fixture(scope='module')
def whole(model):
    return session(graph.whole_clip(model))


def run_export(*arguments):
    return subprocess.run(
        [sys.executable, EXPORT, *map(str, arguments)],
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL, capture_output=True, encoding='utf-8')


@pytest.mark.parametrize('n_samples, n_frames, height, width', [
    (49, 1, 7, 7),  # nothing smaller goes through the first kernels
    (50, 2, 8, 7),
    (1023, 7, 33, 40),
    (5001, 8, 65, 50),  # exactly one chunk
    (12345, 9, 112, 111),  # and one frame more
    (50177, 17, 57, 64),
])
def test_whole_clip(model, whole, n_samples, n_frames, height, width):
    audio, frames = noise(n_samples, n_frames, height, width)
    traits, features = whole.run(
        ['traits', 'features'], {'audio': audio, 'frames': frames})
    assert traits.dtype == features.dtype == numpy.float32
    numpy.testing.assert_allclose(
        traits, model.predict(audio, frames), atol=1e-5)
    expected = model.extract_features(audio, frames)
    numpy.testing.assert_allclose(
        features, expected, atol=1e-5 * numpy.abs(expected).max())


def test_traits_depend_on_the_clip(whole):
    first, second = (
        whole.run(['traits'], dict(zip(
            ('audio', 'frames'), noise(3000, 3, 40, 40, seed))))[0]
        for seed in (1, 2))
    assert numpy.abs(first - second).max() > 1e-3


@pytest.mark.parametrize('part', ['auditory', 'visual', 'head'])
def test_parts(model, part):
    audio, frames = noise(30000, 3, 50, 61)
    features = model.extract_features(audio, frames)
    values = {'audio': audio, 'frames': frames, 'features': features}
    engine = session(graph.PARTS[part](model))
    entry, = (value.name for value in engine.get_inputs())
    given, = engine.run(None, {entry: values[entry]})
    expected, got = {
        'auditory': (features[:256], given.mean(axis=-1)),
        'visual': (features[256:], given.mean(axis=0)),
        'head': (model.predict(audio, frames), given),
    }[part]
    assert got.shape == expected.shape
    numpy.testing.assert_allclose(
        got, expected, atol=1e-5 * numpy.abs(expected).max())


@pytest.mark.parametrize('size', range(1, 40))
@pytest.mark.parametrize('ear', [False, True])
def test_max_pooling_covers_all(size, ear):
    # Chainer's cover_all: 112 x 112 becomes 57 x 57, not 56 x 56.
    stream = chainer_impression.AuditoryStream() if ear \
        else chainer_impression.VisualStream()
    pooling = stream.conv1_relu.pooling
    # Not what follows a ReLU: nothing may rest on zeros being padded.
    x = -numpy.random.RandomState(size).uniform(
        1, 2, (2, 3, 1 if ear else 41 - size, size)).astype(numpy.float32)
    draft = graph._Graph()
    y = draft.add('Identity', [graph._max_pooling(
        draft, 'x', slice(None), **pooling)], name='y')
    engine = session(draft.model(
        [graph._value('x', ['n', 'c', 'h', 'w'])],
        [graph._value(y, ['n', 'c', 'h2', 'w2'])]))
    numpy.testing.assert_array_equal(
        engine.run(None, {'x': x})[0], F.max_pooling_2d(x, **pooling).array)


def test_fold_of_extreme_statistics():
    random = numpy.random.RandomState(3)
    convolution, normalization = L.Convolution2D(4, 5, 3), \
        L.BatchNormalization(5)
    normalization.gamma.array[:] = 1e-30, -1, 0, 7, 1
    normalization.avg_var[:] = 1e-12, 1e6, 0, 1, 3
    normalization.avg_mean[:] = random.normal(0, 10, 5)
    normalization.beta.array[:] = random.normal(0, 10, 5)
    x = random.normal(0, 1, (2, 4, 6, 7)).astype(numpy.float32)
    w, b = graph.fold(convolution, normalization)
    with chainer.using_config('train', False):
        expected = normalization(convolution(x)).array
    got = F.convolution_2d(x, w, b).array
    numpy.testing.assert_allclose(
        got, expected, rtol=1e-4, atol=1e-5 * numpy.abs(expected).max())


def test_metadata_of_the_whole(whole):
    described = whole.get_modelmeta().custom_metadata_map
    assert json.loads(described['trait_order']) == list(TRAITS)
    assert described['neuroticism'] == NEUROTICISM_NOTE
    assert described['sample_rate'] == '16000'
    assert described['frame_rate'] == '25'
    assert 'float32 (n_samples)' in described['audio']
    assert 'uint8 (n_frames, 3, height, width)' in described['frames']
    assert 'RGB' in described['frames']
    assert 'float32 (5)' in described['traits']
    assert 'float32 (512)' in described['features']


def test_inputs_and_outputs(whole):
    assert [(v.name, v.type, v.shape) for v in whole.get_inputs()] == [
        ('audio', 'tensor(float)', ['n_samples']),
        ('frames', 'tensor(uint8)', ['n_frames', 3, 'height', 'width'])]
    assert [(v.name, v.type, v.shape) for v in whole.get_outputs()] == [
        ('traits', 'tensor(float)', [5]), ('features', 'tensor(float)', [512])]


def test_batch_normalisation_is_folded(model):
    proto = graph.whole_clip(model)
    body, = (node.attribute[0].g for node in proto.graph.node
             if node.op_type == 'Loop')
    kinds = [node.op_type for node in [*proto.graph.node, *body.node]]
    assert 'BatchNormalization' not in kinds
    assert kinds.count('Conv') == 2 * 20


def test_network_of_another_number_of_traits():
    model = chainer_impression.AudiovisualStream(n_traits=2)
    proto = graph.whole_clip(model)
    assert 'trait_order' not in graph.metadata(proto)
    audio, frames = noise(500, 2, 20, 20)
    got, = session(proto).run(['traits'], {'audio': audio, 'frames': frames})
    numpy.testing.assert_allclose(
        got, model.predict(audio, frames), atol=1e-5)


def test_command_and_a_program_without_this_project(model, tmp_path):
    save_weights(tmp_path / 'weights.npz', model)
    out = tmp_path / 'network.onnx'
    done = run_export('--weights', tmp_path / 'weights.npz', '--out', out)
    assert (done.returncode, done.stderr) == (0, '')
    assert 'neuroticism' in done.stdout and 'audio' in done.stdout
    onnx.checker.check_model(str(out), full_check=True)

    audio, frames = noise(20000, 11, 64, 81)
    numpy.savez(tmp_path / 'clip.npz', audio=audio, frames=frames)
    # -I: neither this folder nor PYTHONPATH are looked into.
    other = subprocess.run(
        [sys.executable, '-I', '-c', OTHER_PROGRAM, out,
         tmp_path / 'clip.npz'], cwd=tmp_path,
        env=ENVIRONMENT, capture_output=True,
        encoding='utf-8')
    assert other.returncode == 0, other.stderr
    assert json.loads(other.stdout) == pytest.approx(
        dict(zip(TRAITS, model.predict(audio, frames).tolist())), abs=1e-5)


def test_command_fails_in_one_sentence(tmp_path):
    out = tmp_path / 'network.onnx'
    done = run_export('--weights', tmp_path / 'none.npz', '--out', out)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert 'none.npz' in done.stderr
    assert os.listdir(tmp_path) == []


def test_command_without_the_extra(tmp_path):
    # A package of that name that cannot be imported stands before the real.
    (tmp_path / 'onnx.py').write_text(
        'raise ModuleNotFoundError("No module named \'onnx\'", name="onnx")')
    code = 'import sys, runpy; sys.path.insert(0, {!r}); sys.argv[0] = {!r};' \
        'runpy.run_path({!r}, run_name="__main__")'.format(
            str(tmp_path), 'export_onnx.py', EXPORT)
    done = subprocess.run(
        [sys.executable, '-c', code, '--weights', 'w', '--out', 'o'],
        env=ENVIRONMENT, capture_output=True,
        encoding='utf-8')
    assert done.returncode == 1
    assert done.stderr == (
        'export_onnx.py: this needs the package onnx, which cannot be '
        'imported here (No module named \'onnx\'); pip install \'.[cpu]\' '
        'installs it\n')


def test_command_offers_every_part():
    done = run_export('--help')
    assert done.returncode == 0
    assert '{{{}}}'.format(','.join(graph.PARTS)) in done.stdout
