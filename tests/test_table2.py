"""Table 2: the test clips, with labels and without."""

import json
import os

import numpy
import pytest

import training_factory as factory
from chainer_impression import media
from chainer_impression.datasets.clip_cache import CachedClip
from chainer_impression.datasets.labels import read_labels, write_csv
from chainer_impression.errors import ImpressionError

SCRIPT = 'evaluate_test.py'


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('table2')
    factory.make_split(folder, 'test', {'a.003': 1.0, 'f.000': 1.2})
    write_csv(folder / 'train.csv', {'a.000.mp4': [0.5] * 5,
                                     'b.000.mp4': [0.4] * 5})
    factory.save_networks(folder)
    return folder


def arguments(data, out, *more, weights='five.npz', labels=True):
    return ['--test', data / 'test', *[data / 'test.csv'] * labels,
            '--weights', data / weights, '--out', out, *more]


@pytest.fixture(scope='module')
def tested(data):
    status, out, err = factory.run(SCRIPT, *arguments(
        data, data / 'tested', '--train', data / 'train.csv',
        '--engine', 'chainer'))
    assert status == 0, err
    return data / 'tested', out


def test_the_predictions_are_those_of_whole_clips(data, tested):
    from trained_network import trained_network
    network = trained_network(seed=1)
    predictions = read_labels(tested[0] / 'predictions.csv')
    assert list(predictions) == ['a.003.mp4', 'f.000.mp4']
    for name, traits in predictions.items():
        clip = CachedClip(data / 'test' / (name + '.avi'))
        expected = network.predict(clip.read_audio(), clip.read_frames())
        numpy.testing.assert_array_equal(traits, expected)


def test_the_table_is_computed_from_the_file(data, tested):
    out, text = tested
    table = json.loads((out / 'table2.json').read_text())
    predictions = read_labels(out / 'predictions.csv')
    labels = read_labels(data / 'test.csv')
    ours = table['rows'][2]
    assert ours['accuracy']['average'] == pytest.approx(1 - numpy.mean(
        [abs(predictions[name] - labels[name]) for name in labels]))
    assert ours['seen clips'] == ours['unseen clips'] == 1
    assert ours['r2'].keys() == ours['accuracy'].keys()
    for shown in ('Table 2', '0.912968', 'emotionally stable',
                  'concordance correlation', 'training mean'):
        assert shown in text


def test_what_was_predicted_is_not_predicted_again(data, tested, tmp_path):
    out = tmp_path / 'out'
    factory.call(SCRIPT, *arguments(data, out, '--engine', 'chainer'))
    whole = (out / 'predictions.csv').read_bytes()
    assert whole == (tested[0] / 'predictions.csv').read_bytes()
    first = dict(list(read_labels(out / 'predictions.csv').items())[:1])
    write_csv(out / 'predictions.csv', first)
    os.rename(data / 'test' / 'a.003.mp4.avi', data / 'away')
    try:  # of the first clip only the size is looked at
        (data / 'test' / 'a.003.mp4.avi').write_bytes(
            bytes((data / 'away').stat().st_size))
        factory.call(SCRIPT, *arguments(data, out, '--engine', 'chainer'))
    finally:
        os.replace(data / 'away', data / 'test' / 'a.003.mp4.avi')
    assert (out / 'predictions.csv').read_bytes() == whole


def test_without_labels_there_are_predictions_and_no_table(
        data, tmp_path, capsys):
    out = tmp_path / 'out'
    factory.call(SCRIPT, *arguments(data, out, labels=False))
    assert 'no Table 2, for no labels were given' in capsys.readouterr().out
    assert sorted(os.listdir(out)) == [
        '.lock', 'predictions.csv', 'settings.json']
    assert len(read_labels(out / 'predictions.csv')) == 2
    # The labels come later: the predictions are still good.
    before = (out / 'predictions.csv').stat().st_mtime_ns
    factory.call(SCRIPT, *arguments(data, out))
    assert (out / 'predictions.csv').stat().st_mtime_ns == before
    assert (out / 'table2.md').exists()
    assert 'seen' not in (out / 'table2.md').read_text()


def refused(*arguments):
    with pytest.raises(ImpressionError) as error:
        factory.call(SCRIPT, *arguments)
    return str(error.value)


def test_what_cannot_be_used_is_one_sentence(data, tested, tmp_path):
    out = tmp_path / 'out'
    assert 'predicts 1 of the traits; what is needed here is one that ' \
        'predicts 5' in refused(*arguments(data, out, weights='one.npz'))
    assert 'weights is' in refused(
        *arguments(data, tested[0], weights='other.npz'))
    assert 'clips in common (a.003.mp4)' in refused(
        *arguments(data, out, '--train', data / 'test.csv'))
    (tmp_path / 'thesis').mkdir()
    (tmp_path / 'thesis' / 'chapter').write_text('')
    assert 'holds no run' in refused(*arguments(data, tmp_path / 'thesis'))
    with pytest.raises(SystemExit):
        factory.call(SCRIPT, *arguments(data, out), '--test', 1, 2, 3)


def test_weights_of_the_recurrent_network_are_refused(data, tmp_path):
    from chainer_impression.links.recurrent_network import RecurrentNetwork
    from chainer_impression.links.weights import save_weights
    save_weights(data / 'rnn.npz', RecurrentNetwork(n_units=4))
    assert 'weights of another network' in refused(
        *arguments(data, tmp_path / 'out', weights='rnn.npz'))


def test_a_clip_too_short_for_the_network_is_named(data, tmp_path):
    cache = tmp_path / 'cache'
    cache.mkdir()
    path = factory.make_cached_clip(cache, 'z.000.mp4', 0.04)
    clip = CachedClip(path)
    assert clip.n_samples < media.SAMPLE_RATE / 10
    engine = type('', (), {'predict': staticmethod(raises)})
    from chainer_impression.datasets.clip_dataset import WholeClips
    from chainer_impression.prediction import predict_clips
    with pytest.raises(ImpressionError, match='z.000.mp4: too short'):
        predict_clips(engine, WholeClips({'z.000.mp4': path}))


def raises(audio, frames):
    raise ValueError('too short')
