"""The network: its parameters, shapes, modes and what it refuses."""

import copy

import chainer
import chainer.functions as F
import chainer.links as L
import numpy
import pytest

from chainer_impression import AudiovisualStream, AuditoryStream, VisualStream
from chainer_impression.links import visual_stream

RANDOM = numpy.random.RandomState(0)
AUDIO = RANDOM.uniform(-1, 1, 3000).astype(numpy.float32)
FRAMES = RANDOM.randint(0, 256, (10, 3, 33, 24)).astype(numpy.uint8)


@pytest.fixture(scope='module')
def network():
    """A network whose running statistics are those of a batch."""
    numpy.random.seed(2016)
    network = AudiovisualStream()
    for link in batch_normalizations(network):
        link.decay = 0
    with chainer.using_config('train', True):
        network(*batch())
    for link in batch_normalizations(network):
        link.decay = 0.9
    # So that the output lies where tanh is steep.
    network.fc.W.array /= 10
    return network


def batch_normalizations(network):
    return [link for link in network.links()
            if isinstance(link, L.BatchNormalization)]


def batch():
    random = numpy.random.RandomState(3)
    return (random.uniform(-1, 1, (4, 1, 1, 3000)).astype(numpy.float32),
            random.uniform(0, 255, (4, 3, 40, 40)).astype(numpy.float32))


# --- the facts, spelt out ----------------------------------------------------

BATCH_NORM = ('gamma', 'beta', 'avg_mean', 'avg_var')
#: block: (channels in, channels out, has a convolution in its shortcut).
BLOCKS = {
    'res2a_relu': (32, 32, False), 'res2b_relu': (32, 32, False),
    'res3a_relu': (32, 64, True), 'res3b_relu': (64, 64, False),
    'res4a_relu': (64, 128, True), 'res4b_relu': (128, 128, False),
    'res5a_relu': (128, 256, True), 'res5b_relu': (256, 256, False),
}


def expected_shapes():
    """Path and shape of all that a file of weights holds."""
    shapes = {}

    def convolution(path, n_in, n_out, kernel):
        shapes[path + '/W'] = n_out, n_in, *kernel
        shapes[path + '/b'] = n_out,

    def batch_norm(path, n):
        shapes.update({path + '/' + name: (n,) for name in BATCH_NORM})
        shapes[path + '/N'] = ()

    for stream, n_in, first, middle in (
            ('aud', 1, (1, 49), (1, 9)), ('vis', 3, (7, 7), (3, 3))):
        convolution(stream + '/conv1_relu/conv', n_in, 32, first)
        batch_norm(stream + '/conv1_relu/bn_conv', 32)
        for block, (n_before, n, has_branch1) in BLOCKS.items():
            path = '{}/{}/'.format(stream, block)
            convolution(path + 'res_branch2a', n_before, n, middle)
            batch_norm(path + 'bn_branch2a', n)
            convolution(path + 'res_branch2b', n, n, middle)
            batch_norm(path + 'bn_branch2b', n)
            if has_branch1:
                convolution(path + 'res_branch1', n_before, n, (1, 1))
                batch_norm(path + 'bn_branch1', n)
    shapes['fc/W'] = 5, 512
    shapes['fc/b'] = 5,
    return shapes


def test_paths_and_shapes(network):
    arrays = chainer.serializers.npz.serialize(network)
    assert {k: numpy.shape(v) for k, v in arrays.items()} == expected_shapes()
    for name, value in arrays.items():
        if not name.endswith('/N'):
            assert value.dtype == numpy.float32, name


def test_number_of_parameters(network):
    assert network.count_params() == 5601989
    assert sum(numpy.prod(shape, dtype=int)
               for name, shape in expected_shapes().items()
               if name.split('/')[-1] in ('W', 'b', 'gamma', 'beta')
               ) == 5601989
    # One trait instead of five: 512 weights and a bias for each.
    assert AudiovisualStream(n_traits=1).count_params() == 5601989 - 4 * 513


def convolutions(stream):
    return {path: link for path, link in stream.namedlinks()
            if isinstance(link, L.Convolution2D)}


#: convolution: kernel, stride and pad of the visual stream.
GEOMETRY = {'/conv1_relu/conv': (7, 2, 3)}
for _block, (_, _, _has_branch1) in BLOCKS.items():
    GEOMETRY['/{}/res_branch2a'.format(_block)] = 3, 1 + _has_branch1, 1
    GEOMETRY['/{}/res_branch2b'.format(_block)] = 3, 1, 1
    if _has_branch1:
        GEOMETRY['/{}/res_branch1'.format(_block)] = 1, 2, 0


@pytest.mark.parametrize('path', GEOMETRY)
def test_kernels_of_both_streams(network, path):
    kernel, stride, pad = GEOMETRY[path]
    eye, ear = convolutions(network.vis)[path], convolutions(network.aud)[path]
    assert eye.ksize in (kernel, (kernel, kernel))
    assert (eye.stride, eye.pad) == ((stride, stride), (pad, pad))
    assert ear.ksize == (1, kernel ** 2)
    assert ear.stride == (1, stride ** 2)
    assert ear.pad == (0, {3: 24, 1: 4, 0: 0}[pad])
    assert eye.out_channels == ear.out_channels


def test_there_are_no_other_convolutions(network):
    assert set(GEOMETRY) == set(convolutions(network.vis))
    assert set(GEOMETRY) == set(convolutions(network.aud))
    assert len(GEOMETRY) == 1 + 16 + 3


def shapes_of_maps(stream, x):
    shapes = []
    with chainer.using_config('train', False), chainer.no_backprop_mode():
        for block in stream.blocks():
            x = block(x)
            shapes.append(x.shape[1:])
    return shapes


def test_map_after_pooling_is_57_wide(network):
    shapes = shapes_of_maps(
        network.vis, numpy.zeros((1, 3, 224, 224), numpy.float32))
    assert shapes == [(32, 57, 57)] * 3 + [(64, 29, 29)] * 2 + \
        [(128, 15, 15)] * 2 + [(256, 8, 8)] * 2


def test_maps_of_a_training_crop_of_sound(network):
    shapes = shapes_of_maps(
        network.aud, numpy.zeros((1, 1, 1, 50176), numpy.float32))
    assert shapes == [(32, 1, 3137)] * 3 + [(64, 1, 785)] * 2 + \
        [(128, 1, 197)] * 2 + [(256, 1, 50)] * 2


def test_pooling_covers_all(network):
    # The last corner lies in the window before the end and in one beyond it
    # that only cover_all adds.
    block = network.vis.conv1_relu.copy(mode='copy')
    block.conv = lambda x: x
    block.bn_conv = lambda x: x
    x = numpy.zeros((1, 1, 4, 6), numpy.float32)
    x[0, 0, 3, 5] = 9
    y = block(chainer.Variable(x)).array
    wanted = numpy.zeros((1, 1, 3, 4))
    wanted[0, 0, 1:, 2:] = 9
    numpy.testing.assert_array_equal(y, wanted)


def test_batch_normalization_is_chainers(network):
    found = batch_normalizations(AudiovisualStream())
    assert len(found) == 2 * (1 + 16 + 3)
    assert {(link.eps, link.decay) for link in found} == {(2e-5, 0.9)}


def test_initial_weights():
    network = AudiovisualStream()
    for stream in (network.aud, network.vis):
        for path, link in convolutions(stream).items():
            assert (link.b.array == 0).all(), path
            fan_in = numpy.prod(link.W.shape[1:])
            assert link.W.array.std() == pytest.approx(
                (2 / fan_in) ** 0.5, rel=0.1), path
            assert abs(link.W.array.mean()) < 0.1 * link.W.array.std(), path
    assert (network.fc.b.array == 0).all()


def test_two_networks_differ():
    one, other = AudiovisualStream(), AudiovisualStream()
    assert (one.fc.W.array != other.fc.W.array).any()


def test_layer5_is_sound_then_picture(network):
    x = AUDIO[None, None, None], FRAMES[:1].astype(numpy.float32)
    with chainer.using_config('train', False):
        layer5 = network.layer5(*x).array
        numpy.testing.assert_array_equal(
            layer5[:, :256], network.aud(x[0]).array)
        numpy.testing.assert_array_equal(
            layer5[:, 256:], network.vis(x[1]).array)


def test_output_is_scaled_tanh(network):
    features = RANDOM.normal(0, 3, (4, 512)).astype(numpy.float32)
    y = features @ network.fc.W.array.T + network.fc.b.array
    traits = network.traits(features).array
    numpy.testing.assert_allclose(traits, (numpy.tanh(y) + 1) / 2, atol=1e-6)
    assert traits.min() >= 0 and traits.max() <= 1


# --- training and test mode --------------------------------------------------

def statistics(network):
    return {k: numpy.array(v)
            for k, v in chainer.serializers.npz.serialize(network).items()
            if k.split('/')[-1] in ('avg_mean', 'avg_var')}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        numpy.testing.assert_array_equal(one[name], other[name], name)


def test_training_uses_and_collects_batch_statistics(network):
    network = copy.deepcopy(network)
    before = statistics(network)
    with chainer.using_config('train', True):
        traits = network(*batch()).array
        for link in batch_normalizations(network):
            link.avg_mean[...] = 123
            link.avg_var[...] = 45
        # Whatever the running statistics are, training does not use them.
        numpy.testing.assert_array_equal(network(*batch()).array, traits)
        # It is the batch that is normalised: an example depends on the rest.
        audio, frames = batch()
        others = network(audio[:2], frames[:2]).array
        assert abs(others - traits[:2]).max() > 1e-4
    after = statistics(network)
    for name in before:
        assert (after[name] != before[name]).all(), name


def test_test_mode_uses_running_statistics_and_keeps_them(network):
    network = copy.deepcopy(network)
    before = statistics(network)
    with chainer.using_config('train', False):
        traits = network(*batch()).array
        # No example depends on the others.
        audio, frames = batch()
        numpy.testing.assert_allclose(
            network(audio[:2], frames[:2]).array, traits[:2], atol=1e-5)
        assert_same(statistics(network), before)
        network.vis.res4a_relu.bn_branch2b.avg_mean[...] += 10
        assert abs(network(*batch()).array - traits).max() > 1e-5


def test_predict_is_test_mode_whatever_is_configured(network):
    network = copy.deepcopy(network)
    network.cleargrads()
    before = statistics(network)
    traits = []
    for train in (True, False):
        with chainer.using_config('train', train):
            traits.append(network.predict(AUDIO, FRAMES))
            assert chainer.config.train is train
            assert chainer.config.enable_backprop is True
    numpy.testing.assert_array_equal(*traits)
    assert_same(statistics(network), before)
    assert all(p.grad is None for p in network.params())


@pytest.mark.parametrize('train', [True, False])
def test_gradients_reach_every_parameter(network, train):
    network = copy.deepcopy(network)
    network.cleargrads()
    target = numpy.full((4, 5), 0.5, numpy.float32)
    with chainer.using_config('train', train):
        F.mean_absolute_error(network(*batch()), target).backward()
    for path, parameter in network.namedparams():
        assert parameter.grad is not None, path
        assert parameter.grad.shape == parameter.shape, path
        assert numpy.isfinite(parameter.grad).all(), path
        # Batch statistics take away what a convolution's bias adds.
        if not (train and path.endswith('/b') and path != '/fc/b'):
            assert abs(parameter.grad).max() > 0, path


def test_a_step_of_training_changes_every_parameter(network):
    network = copy.deepcopy(network)
    optimizer = chainer.optimizers.Adam(alpha=0.0002, beta1=0.5)
    optimizer.setup(network)
    before = {k: p.array.copy() for k, p in network.namedparams()}
    target = numpy.full((4, 5), 0.5, numpy.float32)
    with chainer.using_config('train', True):
        optimizer.update(
            lambda: F.mean_absolute_error(network(*batch()), target))
    for path, parameter in network.namedparams():
        assert (parameter.array != before[path]).any(), path
        assert numpy.isfinite(parameter.array).all(), path


def assert_close(features, wanted):
    """Equal but for the rounding of single precision."""
    numpy.testing.assert_allclose(
        features, wanted, rtol=0, atol=2e-6 * abs(wanted).max())


# --- a clip of any length ----------------------------------------------------

def test_what_predict_gives(network):
    traits = network.predict(AUDIO, FRAMES)
    assert type(traits) is numpy.ndarray
    assert (traits.shape, traits.dtype) == ((5,), numpy.float32)
    assert traits.min() >= 0 and traits.max() <= 1
    features = network.extract_features(AUDIO, FRAMES)
    assert type(features) is numpy.ndarray
    assert (features.shape, features.dtype) == ((512,), numpy.float32)
    numpy.testing.assert_array_equal(
        traits, network.traits(features[None]).array[0])


def test_one_trait(network):
    assert AudiovisualStream(n_traits=1).predict(AUDIO, FRAMES).shape == (1,)


def test_features_are_the_average_over_frames(network):
    with chainer.using_config('train', False):
        one_by_one = [network.vis(frame[None].astype(numpy.float32)).array[0]
                      for frame in FRAMES]
    assert_close(network.vis.extract_features(FRAMES),
                 numpy.mean(one_by_one, axis=0, dtype=numpy.float64))


@pytest.mark.parametrize('cuts', [
    [], [1], [9], [3, 4, 9], list(range(1, 10)), [0, 5, 5, 10]])
def test_average_does_not_depend_on_chunks(network, cuts):
    whole = network.vis.extract_features(FRAMES)
    chunks = numpy.split(FRAMES, cuts)
    assert sum(map(len, chunks)) == 10
    assert_close(network.vis.extract_features(iter(chunks)), whole)


@pytest.mark.parametrize('size', [1, 3, 256])
def test_average_does_not_depend_on_the_inner_chunk(
        network, monkeypatch, size):
    whole = network.vis.extract_features(FRAMES)
    monkeypatch.setattr(visual_stream, 'CPU_CHUNK', size)
    assert_close(network.vis.extract_features(FRAMES), whole)


def test_sound_of_a_clip_goes_in_one_piece(network):
    assert network.aud.geometry()['piece'] * 1024 >= 20 * 16000


@pytest.mark.parametrize('n_samples, piece', [
    (49, 1), (1024, 1), (1025, 1), (9000, 1), (4096, 4), (4097, 4),
    (8191, 4), (8192, 4), (30000, 4), (40960, 10), (40961, 10)])
def test_sound_in_pieces_is_the_sound_in_one(
        network, n_samples, piece):
    network = copy.deepcopy(network)
    random = numpy.random.RandomState(n_samples)
    for link in batch_normalizations(network.aud):
        # So that padding leaves a trace.
        link.beta.array[...] = random.normal(0, 1, link.beta.shape)
    audio = random.uniform(-1, 1, n_samples).astype(numpy.float32)
    with chainer.using_config('train', False), chainer.no_backprop_mode():
        whole = network.aud(audio[None, None, None]).array[0]
    heard = []
    maps = network.aud.feature_maps
    network.aud.feature_maps = lambda x: heard.append(x) or maps(x)
    network.aud._piece = piece
    assert_close(network.aud.extract_features(audio), whole)
    assert len(heard) == -(-n_samples // (piece * 1024))


@pytest.mark.parametrize('audio, reason', [
    (AUDIO[:48], 'audio of 48 samples is shorter than the first kernel, 49'),
    (AUDIO[:0], 'shorter than the first kernel'),
    (AUDIO[None], r'must be float32 .n_samples,.'),
    (AUDIO.reshape(-1, 2), r'must be float32 .n_samples,.'),
    (numpy.float32(1), r'must be float32 .n_samples,.'),
    (numpy.full(3000, numpy.nan, numpy.float32), 'not finite'),
    (numpy.full(3000, numpy.inf, numpy.float32), 'not finite'),
    ((AUDIO * 32767).astype(numpy.int16), r'must be .* in \[-1, 1\]'),
])
def test_sound_that_is_refused(network, audio, reason):
    with pytest.raises(ValueError, match=reason):
        network.predict(audio, FRAMES)


@pytest.mark.parametrize('frames, reason', [
    (FRAMES[:0], 'there are no frames'),
    ([], 'there are no frames'),
    (iter([]), 'there are no frames'),
    (FRAMES[0], 'must be uint8'),
    (FRAMES.astype(numpy.float32), 'must be uint8'),
    (FRAMES.transpose(0, 2, 3, 1), 'must be uint8'),
    (FRAMES[:, :1], 'must be uint8'),
    (list(FRAMES), 'must be uint8'),
    ([b'frame'], 'must be uint8'),
    (FRAMES[..., :6, :], 'smaller than the first kernel, 7x7'),
    (FRAMES[..., :6], 'smaller than the first kernel, 7x7'),
    ([FRAMES, FRAMES[..., :5]], 'frames of 33x5 pixels'),
])
def test_frames_that_are_refused(network, frames, reason):
    with pytest.raises(ValueError, match=reason):
        network.predict(AUDIO, frames)


def test_smallest_input(network):
    traits = network.predict(AUDIO[:49], FRAMES[:1, :, :7, :7])
    assert numpy.isfinite(traits).all()


def test_float64_sound_and_strides(network):
    wanted = network.predict(AUDIO, FRAMES)
    numpy.testing.assert_array_equal(
        network.predict(AUDIO.astype(numpy.float64), FRAMES), wanted)
    mirrored = numpy.ascontiguousarray(FRAMES[..., ::-1])[..., ::-1]
    numpy.testing.assert_array_equal(
        network.predict(AUDIO[::-1].copy()[::-1], mirrored), wanted)


def test_input_is_left_alone(network):
    audio, frames = AUDIO.copy(), FRAMES.copy()
    network.predict(audio, frames)
    numpy.testing.assert_array_equal(audio, AUDIO)
    numpy.testing.assert_array_equal(frames, FRAMES)


def test_streams_alone():
    assert AuditoryStream()(AUDIO[None, None, None]).shape == (1, 256)
    assert VisualStream()(FRAMES.astype(numpy.float32)).shape == (10, 256)
