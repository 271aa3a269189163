"""The features of each second: extracted once, cached, verified."""

import os
import types

import numpy
import pytest

import training_factory as factory
from chainer_impression.datasets.clip_cache import CachedClip
from chainer_impression.datasets.clip_seconds import n_time_points, seconds
from chainer_impression.datasets.feature_cache import FeatureCache
from chainer_impression.errors import ImpressionError
from chainer_impression.feature_extraction import extract_features, of_clip
from chainer_impression.links.weights import digest, load_weights
from trained_network import trained_network


@pytest.fixture(scope='module')
def clip(tmp_path_factory):
    return factory.make_cached_clip(
        tmp_path_factory.mktemp('clip'), 'a.000.mp4', 2.56)


@pytest.fixture(scope='module')
def network():
    return trained_network()


@pytest.fixture
def cache(tmp_path):
    return FeatureCache(tmp_path / 'features', 'a' * 64)


FEATURES = numpy.random.RandomState(0).rand(3, 512).astype('f')


# --- seconds -----------------------------------------------------------------

@pytest.mark.parametrize('samples, frames, expected', [
    (15.3, 383, 15), (14.98, 375, 15), (15, 374, 15), (15.5, 388, 16),
    (15.5, 387, 15), (15.49, 388, 15), (1, 25, 1), (1.4, 36, 1),
    (1.5, 38, 2), (60, 1500, 60), (20, 1500, 20)])
def test_time_points(samples, frames, expected):
    assert n_time_points(types.SimpleNamespace(
        n_samples=int(samples * 16000), n_frames=frames,
        path='x')) == expected


@pytest.mark.parametrize('samples, frames', [(15999, 25), (16000, 24)])
def test_less_than_one_second_is_refused(samples, frames):
    with pytest.raises(ImpressionError, match='x.avi: has 1.00 s of sound and '
                       '.* less than the one second'):
        n_time_points(types.SimpleNamespace(
            n_samples=samples, n_frames=frames, path='x.avi'))


def test_a_second_is_16000_samples_and_25_frames(clip):
    clip = CachedClip(clip)
    parts = list(seconds(clip))
    assert [len(audio) for audio, _ in parts] == [16000, 16000, 8960]
    assert [len(frames) for _, frames in parts] == [25, 25, 14]
    numpy.testing.assert_array_equal(
        numpy.concatenate([audio for audio, _ in parts]), clip.read_audio())
    numpy.testing.assert_array_equal(
        parts[1][1][0].transpose(1, 2, 0), clip.read_frame(25))


def test_features_of_a_second_are_the_stream_s_on_that_second(clip, network):
    features = of_clip(network, CachedClip(clip))
    assert features.shape == (3, 512) and features.dtype == numpy.float32
    clip = CachedClip(clip)
    frames = numpy.concatenate(list(clip.read_frames()))
    for t in range(3):
        stop = min((t + 1) * 16000, clip.n_samples)
        numpy.testing.assert_array_equal(
            features[t], network.extract_features(
                clip.read_audio(t * 16000, stop), frames[25 * t:25 * t + 25]))


# --- the cache ---------------------------------------------------------------

def test_features_come_back_to_the_bit(cache, clip):
    assert cache.read('a', clip) is None
    cache.write('a', clip, FEATURES)
    read = cache.read('a', clip)
    assert read.dtype == numpy.float32
    numpy.testing.assert_array_equal(read, FEATURES)
    with numpy.load(cache.path('a'), allow_pickle=False) as file:
        assert all(file[name].dtype != object for name in file)


def test_features_of_other_weights_are_refused(cache, clip):
    cache.write('a', clip, FEATURES)
    other = FeatureCache(cache.folder, 'b' * 64)
    with pytest.raises(ImpressionError, match='features extracted with other '
                       'weights .aaaaaaaaaaaa…, not bbbbbbbbbbbb…'):
        other.read('a', clip)


def test_features_of_a_clip_that_has_changed_are_not_used(
        cache, clip, tmp_path):
    path = tmp_path / 'clip.avi'
    content = bytearray(open(clip, 'rb').read())
    path.write_bytes(content)
    cache.write('a', path, FEATURES)
    os.utime(path, (0, 0))  # copied: another time, the same content
    assert cache.read('a', path) is not None
    content[-1] ^= 1
    path.write_bytes(content)
    assert cache.read('a', path) is None


@pytest.mark.parametrize('damage', [
    lambda path: os.truncate(path, os.path.getsize(path) // 2),
    lambda path: open(path, 'wb').close(),
    lambda path: numpy.savez(path, features=FEATURES),
    lambda path: numpy.savez(
        path, features=numpy.array([None]), weights='a' * 64, clip='',
        clip_size=0, clip_modified=0),
    lambda path: numpy.savez(
        path, features=FEATURES[:, :7], weights='a' * 64, clip='',
        clip_size=0, clip_modified=0)])
def test_damaged_features_are_extracted_anew(cache, clip, damage):
    cache.write('a', clip, FEATURES)
    damage(cache.path('a'))
    with pytest.warns(UserWarning, match='is damaged'):
        assert cache.read('a', clip) is None


def test_nothing_is_extracted_twice(cache, clip):
    calls = []

    class Engine:
        def extract_features(self, audio, frames):
            calls.append(len(audio))
            return FEATURES[len(calls) - 1]
    features = extract_features(Engine, {'a': clip}, cache)
    numpy.testing.assert_array_equal(features['a'], FEATURES)
    again = extract_features(None, {'a': clip}, cache)
    numpy.testing.assert_array_equal(again['a'], FEATURES)
    assert calls == [16000, 16000, 8960]


def test_short_clips_are_named_before_anything_is_extracted(
        cache, clip, tmp_path):
    clips = {'a': clip}
    clips['b'] = factory.make_cached_clip(tmp_path, 'b', 0.6)
    with pytest.raises(ImpressionError, match='b.avi: has 0.60 s of sound'):
        extract_features(None, clips, cache)
    clips['c'] = clips['b']
    with pytest.raises(ImpressionError, match=r'2 clips .*\(b, c\)'):
        extract_features(None, clips, cache)
    assert os.listdir(cache.folder) == []


def test_the_digest_is_of_the_weights_not_of_the_file(network, tmp_path):
    factory.save_networks(tmp_path)
    loaded = trained_network(seed=3)
    load_weights(tmp_path / 'five.npz', loaded)
    assert digest(loaded) == digest(trained_network(seed=1))
    assert digest(network) != digest(loaded)
    loaded.fc.b.array += 1
    same = trained_network(seed=1)
    assert digest(loaded) != digest(same)
    assert digest(loaded.aud, loaded.vis) == digest(same.aud, same.vis)
    same.vis.res5b_relu.bn_branch2b.avg_var[0] += 1
    assert digest(loaded.aud, loaded.vis) != digest(same.aud, same.vis)
