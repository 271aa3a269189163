"""The recurrent network: truncation, dropout, padding, its mean."""

import chainer_impression  # NOQA: F401  (makes Chainer importable)
import chainer
import chainer.functions as F
import numpy
import pytest

from chainer_impression.links.recurrent_network import (
    TRUNCATION, RecurrentNetwork)


@pytest.fixture
def network():
    numpy.random.seed(0)
    return RecurrentNetwork(n_units=16, n_features=8)


def _features(n_clips, n_time_points, seed=0):
    return numpy.random.RandomState(seed).normal(
        0, 1, (n_clips, n_time_points, 8)).astype('f')


def _gradient(network, t, n_time_points=2 * TRUNCATION + 3):
    """How the output at time point t depends on each time point's input."""
    x = chainer.Variable(_features(2, n_time_points))
    with chainer.using_config('train', False):
        F.sum(network(x)[:, t]).backward()
    return abs(x.grad).sum(axis=(0, 2))


def test_the_paper_s_size():
    network = RecurrentNetwork()
    assert network.lstm1.lateral.W.shape == (4 * 512, 512)
    assert network.lstm2.upward.W.shape == (4 * 512, 512)
    assert network.fc.W.shape == (5, 512)
    assert (network.fc.b.array == 0.5).all()


@pytest.mark.parametrize('t', [0, 14, 15, 16, 29, 30, 32])
def test_gradients_do_not_reach_back_over_15_time_points(network, t):
    gradient = _gradient(network, t)
    first = t // 15 * 15
    assert (gradient[:first] == 0).all()
    assert (gradient[first:t + 1] > 0).all()
    assert (gradient[t + 1:] == 0).all()


def test_gradients_of_the_weights_are_those_of_the_window(network):
    """A second window's gradient is that of a clip that starts in its state.
    """
    x = _features(1, 20)
    with chainer.using_config('train', False):
        network.cleargrads()
        F.sum(network(x)[:, 15:]).backward()
        truncated = network.lstm1.lateral.W.grad.copy()
        network.cleargrads()
        c1 = h1 = c2 = h2 = None
        loss = 0
        for t in range(20):
            c1, h1 = network.lstm1(c1, h1, x[:, t])
            c2, h2 = network.lstm2(c2, h2, h1)
            if t == 14:
                for state in (c1, h1, c2, h2):
                    state.unchain()
            if t >= 15:
                loss += F.sum(network.fc(h2))
        loss.backward()
    assert truncated == pytest.approx(network.lstm1.lateral.W.grad, abs=1e-6)


def test_the_state_goes_on_over_the_truncation(network):
    x = _features(1, 20)
    other = x.copy()
    other[:, 0] += 1
    with chainer.using_config('train', False):
        assert (network(x).array[:, 15] != network(other).array[:, 15]).all()


def test_dropout_in_training_and_not_at_test_time(network):
    x = _features(1, 6)
    assert (network(x).array != network(x).array).any()
    numpy.random.seed(1)
    state = numpy.random.get_state()[1].copy()
    once, again = network.predict(x[0]), network.predict(x[0])
    assert chainer.config.train
    assert (once == again).all()
    assert (numpy.random.get_state()[1] == state).all()


def test_dropout_is_on_both_hidden_layers_and_not_on_the_recurrence(
        network, monkeypatch):
    dropped = []

    def dropout(h, ratio):
        dropped.append((h.shape, ratio))
        return h
    monkeypatch.setattr(F, 'dropout', dropout)
    network(_features(3, 4))
    assert dropped == [((3, 16), 0.5)] * 8


def test_prediction_is_the_mean_over_the_clip_within_the_scale(network):
    x = _features(1, 18)[0]
    with chainer.using_config('train', False):
        outputs = network(x[None]).array[0]
    assert network.predict(x) == pytest.approx(outputs.mean(axis=0))
    assert network.predict(x).dtype == numpy.float32
    network.fc.b.array[:] = [2, -2, 0.5, 0.5, 0.5]
    assert list(network.predict(x)[:2]) == [1, 0]
    for wrong in (x[:0], x[:, :7], x[0]):
        with pytest.raises(ValueError, match='features must be'):
            network.predict(wrong)


def test_what_fills_up_a_batch_changes_nothing(network):
    x = _features(2, 9)
    with chainer.using_config('train', False):
        alone = network(x[:1, :4]).array
        x[0, 4:] = 0
        assert network(x).array[0, :4] == pytest.approx(alone[0], abs=1e-6)
