"""5 x DNN: the five networks, their schedule, their common predictions."""

import json
import os

import chainer_impression  # NOQA: F401  makes Chainer importable
import chainer
import chainer.links as L
import numpy
import pytest
from chainer.serializers import npz

import training_factory as factory
from chainer_impression import training
from chainer_impression.datasets.labels import read_labels, write_csv
from chainer_impression.errors import ImpressionError
from chainer_impression.evaluations.table1 import predictions_path
from chainer_impression.extensions.plot_log import PlotLog
from chainer_impression.traits import TRAITS
from trained_network import noise, trained_network

SCRIPT = 'finetune_traits.py'
SCHEDULE = ['--batchsize', 2, '--from-epoch', 2, '--epoch', 4,
            '--stage-length', 2]


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('finetune')
    factory.make_split(folder, 'train', {
        'a.000': 1.0, 'b.000': 1.0, 'c.000': 1.0, 'd.000': 1.0})
    factory.make_split(folder, 'validation', {'a.001': 1.0, 'e.000': 1.0}, 1)
    factory.save_networks(folder)
    return folder


def arguments(data, out, *more, weights='five.npz'):
    return [*factory.split_arguments(data, 'train', 'validation'),
            '--weights', data / weights, '--out', out, *SCHEDULE, *more]


# --- the networks ------------------------------------------------------------

@pytest.mark.parametrize('trait', TRAITS)
def test_a_network_for_one_trait_begins_with_exactly_the_weights(trait):
    given = trained_network()
    values, i = npz.serialize(given), TRAITS.index(trait)
    copied = npz.serialize(given.for_trait(trait))
    assert copied.keys() == values.keys()
    for name, value in copied.items():
        expected = values[name]
        if name.startswith('fc/'):
            expected = expected[i:i + 1]
        assert value.dtype == expected.dtype
        numpy.testing.assert_array_equal(value, expected)


def test_it_predicts_what_the_given_network_predicts():
    given = trained_network()
    clip = noise(4000, 3, 32, 32)
    traits = given.predict(*clip)
    for i, trait in enumerate(TRAITS):
        model = given.for_trait(trait)
        prediction = model.predict(*clip)
        assert prediction.shape == (1,)
        assert prediction[0] == pytest.approx(traits[i], abs=1e-6)
    model.aud.conv1_relu.conv.W.array += 1  # a copy, not a view
    assert (given.predict(*clip) == traits).all()


def test_the_command_starts_all_five_from_the_given_weights(
        data, tmp_path, monkeypatch, capsys):
    """Nothing is trained; the five runs are looked at as they begin."""
    begun = {}

    def run(trainer, settings, snapshot):
        trait = os.path.basename(trainer.out)
        assert settings['trait'] == trait
        updater = trainer.updater
        begun[trait] = npz.serialize(updater.get_optimizer('main').target)
        assert updater.get_optimizer('main').alpha == pytest.approx(2e-5)
        assert updater.get_optimizer('main').t == 0
        assert updater.epoch == 2
        write_csv(predictions_path(trainer.out, 4), {
            name: [TRAITS.index(trait) / 10]
            for name in ('a.001.mp4', 'e.000.mp4')}, (trait,))
    monkeypatch.setattr(training, 'run', run)
    out = tmp_path / 'out'
    factory.call(SCRIPT, *arguments(data, out, '--trait', *TRAITS[:4]))
    assert 'no row of Table 3 yet: openness to come' in capsys.readouterr().out
    assert not (out / 'table3.md').exists()
    factory.call(SCRIPT, *arguments(data, out, '--trait', 'openness'))
    assert begun.keys() == set(TRAITS)
    given = npz.serialize(trained_network(seed=1))
    for trait, values in begun.items():
        for name, value in values.items():
            numpy.testing.assert_array_equal(
                value, given[name][TRAITS.index(trait)][None]
                if name.startswith('fc/') else given[name])
    # The five together are one file in the challenge's order, and a row.
    predictions = read_labels(predictions_path(out, 4))
    assert list(predictions) == ['a.001.mp4', 'e.000.mp4']
    for traits in predictions.values():
        assert list(traits) == [0, 0.1, 0.2, 0.3, 0.4]
    rows = json.loads((out / 'table3.json').read_text())['rows']
    labels = read_labels(data / 'validation.csv')
    assert rows[1]['name'] == '5 x DNN'
    assert rows[1]['accuracy']['openness'] == pytest.approx(
        1 - numpy.mean([abs(0.4 - v[4]) for v in labels.values()]))


# --- the schedule ------------------------------------------------------------

class Tiny(chainer.Chain):
    def __init__(self, n_traits):
        super().__init__()
        with self.init_scope():
            self.fc = L.Linear(1, n_traits)

    def forward(self, audio, frames):
        return self.fc(audio)


class Indices(list):
    """Examples that remember which were asked for."""

    def __init__(self, n, n_traits):
        super().__init__(range(n))
        self.asked = []
        self.traits = numpy.full(n_traits, 0.5, 'f')

    def __getitem__(self, i):
        self.asked.append(int(i))
        return numpy.float32([1]), numpy.float32([0]), self.traits


def tiny_trainer(out, n_epochs, stage_length, epoch, n_examples=3,
                 n_traits=1):
    numpy.random.seed(0)
    model = Tiny(n_traits)
    examples = Indices(n_examples, n_traits)
    iterator = training.examples_iterator(examples, 2, 7, epoch=epoch)
    optimizer = training.make_optimizer(model, training.alpha_after(
        epoch, training.ALPHA, stage_length))
    updater = chainer.training.StandardUpdater(
        iterator, optimizer, loss_func=training.mean_absolute_error(model))
    return training.make_trainer(updater, str(out), n_epochs, stage_length,
                                 snapshot_every=100), examples


@pytest.fixture
def no_pictures(monkeypatch):
    monkeypatch.setattr(PlotLog, '__call__', lambda *_: None)


def test_the_recipe_from_epoch_300_on(tmp_path, no_pictures):
    trainer, _ = tiny_trainer(tmp_path, 900, 300, 300, 2)
    trainer.run(show_loop_exception_msg=False)
    with open(tmp_path / 'log.json') as file:
        log = {entry['epoch']: entry['alpha'] for entry in json.load(file)}
    assert list(log) == list(range(301, 901))
    for epoch, expected in ((301, 2e-5), (600, 2e-5), (601, 2e-6),
                            (900, 2e-6)):
        assert log[epoch] == pytest.approx(expected, rel=1e-12)
    assert sorted(name for name in os.listdir(tmp_path) if 'snap' in name) == [
        'snapshot-epoch-600.npz', 'snapshot-epoch-800.npz',
        'snapshot-epoch-900.npz']


def test_the_examples_are_those_of_the_epochs_that_come(tmp_path, no_pictures):
    """As a run from the first epoch on would see them, none twice."""
    n = 4
    whole, seen_by_whole = tiny_trainer(tmp_path / 'whole', 6, 2, 0, n)
    whole.run(show_loop_exception_msg=False)
    later, seen_later = tiny_trainer(tmp_path / 'later', 6, 2, 3, n)
    later.run(show_loop_exception_msg=False)
    # What was loaded ahead is loaded again after a snapshot.
    whole_order, later_order = (
        list(dict.fromkeys(examples.asked))
        for examples in (seen_by_whole, seen_later))
    assert later_order == whole_order[3 * n:]
    assert min(later_order) == 4 * n


def test_a_resumed_trainer_equals_one_that_was_not_stopped(
        tmp_path, no_pictures):
    whole, _ = tiny_trainer(tmp_path / 'whole', 505, 200, 390)
    whole.run(show_loop_exception_msg=False)
    part, _ = tiny_trainer(tmp_path / 'part', 505, 200, 390)
    part.stop_trigger = lambda trainer: trainer.updater.epoch >= 450
    part.run(show_loop_exception_msg=False)
    resumed, _ = tiny_trainer(tmp_path / 'part', 505, 200, 390)
    assert training.resume(resumed).endswith('snapshot-epoch-400.npz')
    resumed.run(show_loop_exception_msg=False)
    assert (tmp_path / 'whole' / 'log.json').read_text() == \
        (tmp_path / 'part' / 'log.json').read_text()
    for a, b in zip(*(t.updater.get_optimizer('main').target.params()
                      for t in (whole, resumed))):
        numpy.testing.assert_array_equal(a.array, b.array)


# --- the command -------------------------------------------------------------

def test_killed_and_resumed_to_the_bit(data, tmp_path):
    more = ['--trait', 'neuroticism', '--loaderjob', 2]
    status, text, err = factory.run(SCRIPT, *arguments(
        data, tmp_path / 'whole', *more))
    assert status == 0, err
    assert 'extraversion, agreeableness, conscientiousness, openness to come' \
        in text
    out = tmp_path / 'killed'
    assert factory.kill_when(
        factory.start(SCRIPT, *arguments(data, out, *more)),
        out / 'neuroticism' / 'snapshot-epoch-3.npz')
    assert not (out / 'neuroticism' / 'model.npz').exists()
    status, text, err = factory.run(SCRIPT, *arguments(data, out, *more))
    assert status == 0, err
    assert 'going on from' in text
    whole = factory.contents(tmp_path / 'whole')
    assert factory.contents(out) == whole
    assert 'neuroticism/predictions-epoch-4.csv' in whole
    assert 'neuroticism/model.npz/fc/W' in whole


def refused(*arguments):
    with pytest.raises(ImpressionError) as error:
        factory.call(SCRIPT, *arguments)
    return str(error.value)


def test_what_cannot_be_used_is_one_sentence(data, tmp_path):
    out = tmp_path / 'out'
    assert 'predicts 1 of the traits; what is needed here is one that ' \
        'predicts 5' in refused(*arguments(data, out, weights='one.npz'))
    assert '9 is larger than the data set of 4' in refused(
        *arguments(data, out, '-b', 9))
    assert 'have 4 clips in common' in refused(
        *arguments(data, out, '--validation', data / 'train',
                   data / 'train.csv'))
    os.makedirs(tmp_path / 'thesis' / 'chapter')
    assert 'holds no run' in refused(*arguments(data, tmp_path / 'thesis'))


@pytest.mark.parametrize('more', [
    ['--from-epoch', 4], ['--from-epoch', 0], ['--trait', 'charm'],
    ['--resume', 'x.npz']])
def test_senseless_arguments(data, tmp_path, more):
    with pytest.raises(SystemExit):
        factory.call(SCRIPT, *arguments(data, tmp_path / 'out', *more))


@pytest.mark.parametrize('n_traits, n_given', [(1, 5), (5, 1)])
def test_a_snapshot_of_the_other_kind_is_refused(
        tmp_path, no_pictures, n_traits, n_given):
    """NumPy would broadcast one row of weights to five."""
    trainer, _ = tiny_trainer(tmp_path / 'given', 1, 1, 0, n_traits=n_given)
    trainer.run(show_loop_exception_msg=False)
    with pytest.raises(ImpressionError, match='snapshot-epoch-1.npz: is no '
                       'snapshot of such a run.*fc/. is .*, not '):
        training.resume(
            tiny_trainer(tmp_path / 'out', 2, 1, 0, n_traits=n_traits)[0],
            str(tmp_path / 'given' / 'snapshot-epoch-1.npz'))
