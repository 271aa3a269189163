"""DNN + RNN: mini-batches of any length, and the command."""

import json

import chainer_impression  # NOQA: F401  makes Chainer importable
import numpy
import pytest

import training_factory as factory
from chainer_impression import training
from chainer_impression.datasets.feature_cache import FeatureCache
from chainer_impression.datasets.feature_sequences import (
    FeatureSequences, pad)
from chainer_impression.datasets.labels import read_labels
from chainer_impression.errors import ImpressionError
from chainer_impression.evaluations.table1 import predictions_path
from chainer_impression.extensions.seed_every_iteration import (
    SeedEveryIteration)
from chainer_impression.links.recurrent_network import RecurrentNetwork
from chainer_impression.links.weights import digest, load_weights

SCRIPT = 'train_rnn.py'
SCHEDULE = ['--batchsize', 2, '--epoch', 3, '--stage-length', 2]


# --- mini-batches ------------------------------------------------------------

def sequences(*lengths):
    random = numpy.random.RandomState(0)
    features = {'v{}'.format(i): random.normal(0, 1, (n, 8)).astype('f')
                for i, n in enumerate(lengths)}
    return features, {name: random.rand(5) for name in features}


def test_examples_are_the_same_in_every_epoch():
    features, labels = sequences(3, 1)
    examples = FeatureSequences(features, labels)
    for index in (1, 3, 2001):
        x, traits = examples[index]
        assert x is features['v1']
        numpy.testing.assert_array_equal(traits, labels['v1'].astype('f'))


def test_a_batch_is_filled_up_with_zeros():
    examples = FeatureSequences(*sequences(3, 1, 17))
    features, mask, traits = pad([examples[i] for i in range(3)], None)
    assert features.shape == (3, 17, 8) and traits.shape == (3, 5)
    assert list(mask.sum(axis=1)) == [3, 1, 17]
    assert (features[0, 3:] == 0).all() and (features[1, 1:] == 0).all()
    assert {a.dtype for a in (features, mask, traits)} == {
        numpy.dtype('f')}


def test_what_fills_up_a_batch_does_not_count():
    """The loss and its gradients are those of each clip by itself."""
    examples = FeatureSequences(*sequences(3, 1, 17))
    numpy.random.seed(0)
    model = RecurrentNetwork(n_units=6, n_features=8, dropout=0)
    loss_function = training.mean_absolute_error_at_time_points(model)
    batch = [examples[i] for i in range(3)]
    model.cleargrads()
    loss = loss_function(*pad(batch, None))
    loss.backward()
    together = {name: p.grad.copy() for name, p in model.namedparams()}
    model.cleargrads()
    alone = sum(loss_function(*pad([one], None)) * (len(one[0]) / 21)
                for one in batch)
    alone.backward()
    assert float(loss.array) == pytest.approx(float(alone.array), rel=1e-5)
    outputs = [model(x[None]).array[0] for x, _ in batch]
    assert float(loss.array) == pytest.approx(numpy.concatenate(
        [abs(y - t) for y, (_, t) in zip(outputs, batch)]).mean(), rel=1e-5)
    for name, p in model.namedparams():
        assert together[name] == pytest.approx(p.grad, abs=1e-6)


def test_dropout_draws_the_same_after_a_resume():
    class Updater:
        iteration = 5

    trainer = type('', (), {'updater': Updater})
    x = numpy.ones((1, 4, 8), 'f')
    numpy.random.seed(0)
    model = RecurrentNetwork(n_units=16, n_features=8)

    def outputs(seed):
        SeedEveryIteration(seed).initialize(trainer)
        return model(x).array
    first = outputs(1)
    model(x)
    assert (outputs(1) == first).all()
    assert (outputs(2) != first).any()
    Updater.iteration = 6
    assert (outputs(1) != first).any()


# --- the command -------------------------------------------------------------

@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('rnn')
    factory.make_split(folder, 'train', {
        'a.000': 1.0, 'b.000': 2.6, 'c.000': 1.2})
    factory.make_split(folder, 'validation', {'a.001': 1.0, 'e.000': 1.6}, 1)
    factory.save_networks(folder)
    return folder


def arguments(data, out, *more, weights='five.npz', features='features'):
    return [*factory.split_arguments(data, 'train', 'validation'),
            '--weights', data / weights, '--features', data / features,
            '--out', out, '--engine', 'chainer', *SCHEDULE, *more]


@pytest.fixture(scope='module')
def undisturbed(data):
    status, out, err = factory.run(SCRIPT, *arguments(data, data / 'whole'))
    assert status == 0, err
    return data / 'whole', out, err


def test_the_command_writes_the_row_of_table_3(data, undisturbed):
    out, text, err = undisturbed
    assert 'extracting features: 100%' in err
    rows = json.loads((out / 'table3.json').read_text())['rows']
    assert [r['name'] for r in rows if 'accuracy' in r] == ['DNN + RNN']
    assert 'Table 3' in text and '0.912158' in text
    model = RecurrentNetwork()
    load_weights(out / 'model.npz', model)
    stream = chainer_impression.AudiovisualStream()
    load_weights(data / 'five.npz', stream)
    cache = FeatureCache(data / 'features', digest(stream.aud, stream.vis))
    predictions = read_labels(predictions_path(out, 3))
    assert list(predictions) == ['a.001.mp4', 'e.000.mp4']
    for name, n_time_points in (('a.001.mp4', 1), ('e.000.mp4', 2)):
        features = cache.read(name, data / 'validation' / (name + '.avi'))
        assert len(features) == n_time_points
        numpy.testing.assert_array_equal(
            predictions[name], model.predict(features))
    log = json.loads((out / 'log.json').read_text())
    assert [entry['alpha'] for entry in log] == pytest.approx(
        [2e-4, 2e-4, 2e-5])
    assert 'validation/accuracy/openness' in log[1]


def test_killed_and_resumed_to_the_bit(data, undisturbed, tmp_path):
    """Once while features are extracted, once while it is trained."""
    command = arguments(data, tmp_path / 'out', features='killed')
    first = data / 'killed' / 'a.000.mp4.features.npz'
    assert factory.kill_when(factory.start(SCRIPT, *command), first)
    written = first.stat().st_mtime_ns
    assert factory.kill_when(factory.start(SCRIPT, *command),
                             tmp_path / 'out' / 'snapshot-epoch-1.npz')
    status, text, err = factory.run(SCRIPT, *command)
    assert status == 0, err
    assert 'going on from' in text and 'extracting' not in err
    assert first.stat().st_mtime_ns == written
    assert factory.contents(tmp_path / 'out') == factory.contents(
        undisturbed[0])


def refused(*arguments):
    with pytest.raises(ImpressionError) as error:
        factory.call(SCRIPT, *arguments)
    return str(error.value)


def test_what_cannot_be_used_is_one_sentence(data, undisturbed, tmp_path):
    out = tmp_path / 'out'
    assert 'extracted with other weights' in refused(
        *arguments(data, out, weights='other.npz'))
    assert 'predicts 1 of the traits' in refused(
        *arguments(data, out, weights='one.npz'))
    assert 'weights of another network' in refused(
        *arguments(data, out, '--weights', undisturbed[0] / 'model.npz'))
    assert '4 is larger than the data set of 3' in refused(
        *arguments(data, out, '-b', 4))
    assert 'in which dropout is 0.5, not 0.1' in refused(
        *arguments(data, undisturbed[0], '--dropout', 0.1))
    assert 'have 3 clips in common' in refused(
        *arguments(data, out, '--validation', data / 'train',
                   data / 'train.csv'))
    with pytest.raises(SystemExit):
        factory.call(SCRIPT, *arguments(data, out, '--dropout', 1))


def test_clips_of_less_than_one_second_are_refused(data, tmp_path):
    factory.make_split(tmp_path, 'train', {'s.000': 0.4, 't.000': 0.8})
    assert '2 clips have less than the one second that the recurrent ' \
        'network needs (s.000.mp4, t.000.mp4)' in refused(
            *arguments(data, tmp_path / 'out', '--train', tmp_path / 'train',
                       tmp_path / 'train.csv'))
