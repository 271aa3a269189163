"""Engines: the network's predictions from another runtime, its errors too."""

import pickle
import subprocess
import sys
import warnings

import chainer_impression  # NOQA: F401  (makes Chainer importable)
import chainer
import numpy
import pytest
from chainer_impression import engines
from chainer_impression.errors import ImpressionError
from trained_network import ENVIRONMENT, noise, trained_network


@pytest.fixture(scope='module')
def model():
    return trained_network(scale=10)


@pytest.fixture(scope='module')
def openvino(model):
    pytest.importorskip('onnx', reason="pip install '.[cpu]' brings onnx")
    pytest.importorskip(
        'openvino', reason="pip install '.[cpu]' brings openvino")
    return engines.make_engine(model, 'openvino')


def check(engine, model, audio, frames):
    got, expected = (e.predict(audio, frames) for e in (engine, model))
    assert got.dtype == numpy.float32 and got.shape == expected.shape
    numpy.testing.assert_allclose(got, expected, atol=1e-4)
    got, expected = (e.extract_features(audio, frames)
                     for e in (engine, model))
    assert got.dtype == numpy.float32 and got.shape == expected.shape
    numpy.testing.assert_allclose(
        got, expected, atol=1e-5 * numpy.abs(expected).max())


@pytest.mark.parametrize('n_samples, n_frames, height, width', [
    (49, 1, 7, 7),
    (1025, 2, 8, 13),
    (2047, 15, 31, 32),
    (5001, 16, 33, 40),  # exactly one chunk
    (50176, 17, 40, 23),  # and one frame more
])
def test_sizes(openvino, model, n_samples, n_frames, height, width):
    check(openvino, model, *noise(n_samples, n_frames, height, width))


def test_the_challenges_own_size(openvino, model):
    check(openvino, model, *noise(16000, 2, 256, 456))


@pytest.mark.parametrize('seed', [1, 2])
def test_other_weights(seed):
    pytest.importorskip('openvino')
    model = trained_network(seed, scale=seed)
    check(engines.make_engine(model, 'openvino'), model,
          *noise(3000, 3, 41, 41, seed))


@pytest.mark.parametrize('n_samples', [327680, 327681, 660001])
def test_audio_in_several_pieces(openvino, model, n_samples):
    audio, frames = noise(n_samples, 1, 7, 7)
    features = openvino.extract_features(audio, frames)[:256]
    with chainer.using_config('train', False), chainer.no_backprop_mode():
        expected = model.aud(audio[None, None, None]).array[0]
    numpy.testing.assert_allclose(
        features, expected, atol=1e-5 * numpy.abs(expected).max())


def test_chunks_make_no_difference(openvino):
    audio, frames = noise(1000, 23, 20, 30)
    whole = openvino.predict(audio, frames)
    chunks = (frames[i:i + 5] for i in range(0, 23, 5))
    numpy.testing.assert_allclose(
        openvino.predict(audio, chunks), whole, atol=1e-6)


def test_one_engine_for_frames_of_several_sizes(openvino, model):
    for height, width in ((30, 20), (7, 7), (30, 20), (64, 9)):
        check(openvino, model, *noise(500, 3, height, width))


def test_arrays_as_they_come(openvino):
    audio, frames = noise(2000, 5, 20, 30)
    expected = openvino.predict(audio, frames)
    # As a decoder gives them: pixels interleaved, memory not ours.
    view = numpy.frombuffer(
        frames.transpose(0, 2, 3, 1).tobytes(), numpy.uint8).reshape(
            5, 20, 30, 3).transpose(0, 3, 1, 2)
    padded = numpy.zeros((10, 3, 22, 34), numpy.uint8)
    padded[::2, :, 1:21, 2:32] = frames
    sound = numpy.zeros(4000, numpy.float32)
    sound[::2] = audio
    audio.flags.writeable = False
    for sound, pictures in ((audio, view), (sound[::2], frames),
                            (audio[::-1][::-1],
                             padded[::2, :, 1:21, 2:32]),
                            (audio.astype(numpy.float64), frames)):
        before = pictures.copy()
        numpy.testing.assert_array_equal(
            openvino.predict(sound, pictures), expected)
        numpy.testing.assert_array_equal(pictures, before)


def test_results_are_the_callers_to_keep(openvino):
    first = noise(1000, 2, 20, 20, 1)
    kept = openvino.predict(*first)
    copy = kept.copy()
    kept_features = openvino.extract_features(*first)
    copy_features = kept_features.copy()
    openvino.predict(*noise(1000, 2, 20, 20, 2))
    numpy.testing.assert_array_equal(kept, copy)
    numpy.testing.assert_array_equal(kept_features, copy_features)


@pytest.mark.parametrize('audio, frames', [
    (numpy.zeros(48), numpy.zeros((1, 3, 9, 9), 'u1')),
    (numpy.zeros(0), numpy.zeros((1, 3, 9, 9), 'u1')),
    (numpy.zeros((1, 99)), numpy.zeros((1, 3, 9, 9), 'u1')),
    (numpy.full(99, numpy.nan), numpy.zeros((1, 3, 9, 9), 'u1')),
    (numpy.zeros(99), numpy.zeros((0, 3, 9, 9), 'u1')),
    (numpy.zeros(99), ()),
    (numpy.zeros(99), numpy.zeros((3, 9, 9), 'u1')),
    (numpy.zeros(99), numpy.zeros((1, 9, 9, 3), 'u1')),
    (numpy.zeros(99), numpy.zeros((1, 3, 9, 9), 'f4')),
    (numpy.zeros(99), numpy.zeros((1, 3, 6, 9), 'u1')),
    (numpy.zeros(99), [numpy.zeros((1, 3, 9, 9), 'u1'), 'frames']),
])
def test_refuses_what_the_network_refuses(openvino, model, audio, frames):
    with pytest.raises(ValueError) as expected:
        model.predict(audio, frames)
    with pytest.raises(ValueError) as got:
        openvino.predict(audio, frames)
    assert str(got.value) == str(expected.value)


def test_pickled(openvino):
    clip = noise(1000, 2, 20, 20)
    copy = pickle.loads(pickle.dumps(openvino))
    numpy.testing.assert_array_equal(
        copy.predict(*clip), openvino.predict(*clip))


def test_bfloat16_where_asked_for(model, openvino):
    try:
        engine = engines.make_engine(model, 'openvino-bf16')
    except ImpressionError as error:
        pytest.skip(str(error))
    clip = noise(16000, 16, 64, 64)
    difference = numpy.abs(
        engine.predict(*clip) - openvino.predict(*clip)).max()
    assert 0 < difference < 0.02


def test_one_trait(openvino):
    model = chainer_impression.AudiovisualStream(n_traits=1)
    check(engines.make_engine(model, 'openvino'), model,
          *noise(1000, 2, 20, 20))


def test_auto_is_openvino_where_it_is_installed(model, openvino):
    assert type(engines.make_engine(model)) is type(openvino)


def test_chainer_is_the_network_itself(model):
    assert engines.make_engine(model, 'chainer') is model


def test_unknown_engine(model):
    with pytest.raises(ImpressionError, match="'tensorflow'"):
        engines.make_engine(model, 'tensorflow')


def test_on_a_gpu_it_is_the_network():
    class OnGpu:
        xp, device = object(), '@cupy:0'
    model = OnGpu()
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert engines.make_engine(model) is model
    with pytest.raises(ImpressionError, match='CPU only.*@cupy:0'):
        engines.make_engine(model, 'openvino')


@pytest.mark.parametrize('package', ['onnx', 'openvino'])
def test_without_the_extra(package):
    code = '''
import sys, warnings
sys.modules[{!r}] = None
from chainer_impression import AudiovisualStream, engines
model = AudiovisualStream()
with warnings.catch_warnings(record=True) as caught:
    assert engines.make_engine(model) is model
    assert engines.make_engine(model) is model
print(len(caught), caught[0].message)
try:
    engines.make_engine(model, 'openvino')
except Exception as error:
    print(type(error).__name__, error)
'''.format(package)
    done = subprocess.run(
        [sys.executable, '-c', code], env=ENVIRONMENT,
        capture_output=True, encoding='utf-8')
    assert done.stderr == ''
    said, refused = done.stdout.splitlines()
    assert said.startswith('1 predictions on a CPU can be about 3 '
        'times as fast')
    assert refused.startswith('ImpressionError')
    for line in said, refused:
        assert 'needs the package {},'.format(package) in line
        assert line.endswith("pip install '.[cpu]' installs it")


def test_importing_the_library_imports_no_runtime():
    code = 'import sys, chainer_impression, chainer_impression.engines;' \
        'print([m for m in ("openvino", "onnx", "onnxruntime") ' \
        'if m in sys.modules])'
    done = subprocess.run(
        [sys.executable, '-c', code], env=ENVIRONMENT,
        capture_output=True, encoding='utf-8')
    assert done.stdout == '[]\n', done.stderr
