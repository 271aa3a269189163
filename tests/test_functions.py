"""The fast NumPy path gives what Chainer gives.

Values, gradients and running statistics, for any layout, in several threads
and after a fork; and nothing but Chainer where it is off or cannot run.
"""

import os
import subprocess
import sys
import threading

import chainer_impression  # noqa: F401  (makes Chainer importable)

import chainer
import chainer.functions as F
import chainer.links as L
import numpy as np
import pytest

from chainer_impression import functions
from chainer_impression.functions import fast_cpu
from chainer_impression.links import fast_links

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

pytestmark = pytest.mark.skipif(
    not fast_cpu.is_fast(np.zeros(1, np.float32)),
    reason='the fast path needs Numba, or is switched off')


def random(*shape, seed=0):
    return np.random.RandomState(seed).randn(*shape).astype(np.float32)


def run(function, arrays, gy=None, **kwargs):
    """Returns what ``function`` gives, and the gradients of its inputs."""
    variables = [chainer.Variable(array) for array in arrays]
    y = function(*variables, **kwargs)
    y.grad = random(*y.shape, seed=1) if gy is None else gy
    y.backward()
    return [y.array] + [variable.grad for variable in variables]


def assert_same(actual, expected, tolerance=1e-5):
    """Asserts equality up to rounding, relative to the largest value."""
    assert len(actual) == len(expected)
    for a, e in zip(actual, expected):
        assert a.shape == e.shape and a.dtype == e.dtype == np.float32
        np.testing.assert_allclose(
            a, e, rtol=0, atol=tolerance * max(1, np.abs(e).max()))


# (x shape, kernels, kernel size, stride, pad)
CONVOLUTIONS = [
    ((2, 3, 7, 9), 4, (3, 3), (1, 1), (1, 1)),
    ((1, 1, 5, 5), 1, (1, 1), (1, 1), (0, 0)),
    ((3, 2, 9, 8), 5, (1, 1), (2, 2), (0, 0)),
    ((2, 3, 10, 11), 4, (3, 3), (2, 2), (1, 1)),
    ((2, 2, 11, 6), 3, (5, 2), (3, 1), (4, 0)),
    ((2, 2, 6, 13), 3, (2, 5), (1, 4), (1, 7)),
    ((2, 1, 3, 3), 2, (3, 3), (5, 5), (0, 0)),
    ((1, 2, 2, 2), 2, (1, 1), (1, 1), (3, 3)),
    # The network's own, smaller
    ((2, 3, 33, 33), 8, (7, 7), (2, 2), (3, 3)),
    ((2, 1, 1, 1100), 8, (1, 49), (1, 4), (0, 24)),
    ((3, 8, 1, 276), 8, (1, 9), (1, 1), (0, 4)),
    ((3, 8, 1, 276), 16, (1, 9), (1, 4), (0, 4)),
    ((3, 8, 1, 276), 16, (1, 1), (1, 4), (0, 0)),
    ((5, 64, 8, 8), 16, (3, 3), (1, 1), (1, 1)),
    # Several tiles: whole samples, rows, parts of a row
    ((40, 4, 15, 15), 3, (3, 3), (1, 1), (1, 1)),
    ((2, 32, 57, 57), 3, (3, 3), (1, 1), (1, 1)),
    ((1, 32, 1, 4001), 3, (1, 9), (1, 1), (0, 4)),
]


@pytest.mark.parametrize('cover_all', [False, True])
@pytest.mark.parametrize('shape, kernels, ksize, stride, pad', CONVOLUTIONS)
def test_convolution(shape, kernels, ksize, stride, pad, cover_all):
    W = random(kernels, shape[1], *ksize, seed=2)
    arrays = random(*shape), W, random(kernels, seed=3)
    kwargs = {'stride': stride, 'pad': pad, 'cover_all': cover_all}
    for n in (2, 3):  # without and with biases
        assert_same(run(functions.convolution_2d, arrays[:n], **kwargs),
                    run(F.convolution_2d, arrays[:n], **kwargs))


@pytest.mark.parametrize('kwargs', [
    {'dilate': 2}, {'dilate': (1, 3), 'stride': (2, 2)}, {'groups': 2}])
def test_convolution_dilated_and_grouped(kwargs):
    W = random(6, 4 // kwargs.get('groups', 1), 3, 3, seed=2)
    arrays = random(2, 4, 13, 12), W, random(6, seed=3)
    assert_same(run(functions.convolution_2d, arrays, pad=1, **kwargs),
                run(F.convolution_2d, arrays, pad=1, **kwargs))


def test_convolution_without_the_inputs_gradient():
    x, W, b = random(2, 3, 8, 8), random(4, 3, 3, 3), random(4)
    fast, slow = [], []
    for function, out in ((functions.convolution_2d, fast),
                          (F.convolution_2d, slow)):
        W_variable, b_variable = chainer.Variable(W), chainer.Variable(b)
        F.sum(function(x, W_variable, b_variable, 1, 1)).backward()
        out += [W_variable.grad, b_variable.grad]
    assert_same(fast, slow)


POOLINGS = [
    ((2, 3, 7, 9), (3, 3), (2, 2), (1, 1)),
    ((1, 2, 112, 112), (3, 3), (2, 2), (1, 1)),
    ((2, 2, 1, 277), (1, 9), (1, 4), (0, 4)),
    ((2, 2, 8, 5), (2, 3), None, (0, 0)),
    ((1, 1, 5, 9), (3, 2), (1, 3), (2, 1)),
    ((1, 1, 9, 9), (2, 2), (5, 4), (0, 1)),
]


@pytest.mark.parametrize('cover_all', [False, True])
@pytest.mark.parametrize('shape, ksize, stride, pad', POOLINGS)
def test_max_pooling(shape, ksize, stride, pad, cover_all):
    # Few different values, so that the first of equals matters.
    x = np.random.RandomState(0).randint(-2, 3, shape).astype(np.float32)
    args = ksize, stride, pad, cover_all
    fast = run(lambda x: functions.max_pooling_2d(x, *args), [x])
    slow = run(lambda x: F.max_pooling_2d(x, *args), [x])
    np.testing.assert_array_equal(fast[0], slow[0])
    # The gradients of overlapping windows are added in another order.
    assert_same(fast[1:], slow[1:], tolerance=1e-6)


def test_max_pooling_of_the_networks_map_covers_all():
    y = functions.max_pooling_2d(random(1, 1, 112, 112), 3, 2, 1)
    assert y.shape == (1, 1, 57, 57)


def test_not_a_number_comes_through():
    def pooled(module):
        return module.max_pooling_2d(x, 3, 2, 1).array

    x = random(2, 3, 6, 7)
    x[0, 1, 2, 3], x[1, 0, 0, 0], x[1, 2, 5, 6] = np.nan, np.inf, -np.inf
    np.testing.assert_array_equal(functions.relu(x).array, F.relu(x).array)
    np.testing.assert_array_equal(pooled(functions), pooled(F))
    ones = np.ones(3, np.float32)
    y = functions.batch_normalization(x, ones, ones).array
    assert np.isnan(y[:, :2]).all()


@pytest.mark.parametrize('shape', [(1,), (7, 5), (3, 4, 1, 33), (2, 3, 4, 5)])
def test_relu(shape):
    x = random(*shape)
    for a, e in zip(run(functions.relu, [x]), run(F.relu, [x])):
        np.testing.assert_array_equal(a, e)


@pytest.mark.parametrize('shape', [
    (2, 3), (4, 5, 6), (3, 4, 5, 7), (1, 2, 3, 3), (2, 1, 1, 9001),
    (3, 33, 1, 50)])
def test_batch_normalization(shape):
    c = shape[1]
    arrays = random(*shape) * 3 + 100, random(c, seed=2), random(c, seed=3)
    results, statistics = [], []
    for module in (functions, F):
        mean, var = np.ones((2, c), np.float32)
        results.append(run(
            module.batch_normalization, arrays, running_mean=mean,
            running_var=var, decay=.7, eps=1e-3))
        statistics.append([mean, var])
    # Chainer's float32 mean of values around 100 is no better than 1e-5.
    assert_same(*results, tolerance=1e-4)
    assert_same(*statistics)
    axes = (0,) + tuple(range(2, len(shape)))
    exact = np.float64(arrays[0]).mean(axis=axes)
    np.testing.assert_allclose(
        (statistics[0][0] - .7) / .3, exact, rtol=1e-5)


def test_batch_normalization_over_other_axes():
    arrays = (random(4, 3, 5, 5), random(3, 5, 5, seed=2),
              random(3, 5, 5, seed=3))
    assert_same(run(functions.batch_normalization, arrays, axis=0),
                run(F.batch_normalization, arrays, axis=0))


@pytest.mark.parametrize('shape', [(2, 3), (3, 4, 5, 7), (1, 2, 1, 999)])
def test_fixed_batch_normalization(shape):
    c = shape[1]
    arrays = [random(*shape)] + [random(c, seed=seed) for seed in range(4)]
    arrays[-1] **= 2
    assert_same(run(functions.fixed_batch_normalization, arrays, eps=1e-3),
                run(F.fixed_batch_normalization, arrays, eps=1e-3))


@pytest.mark.parametrize('make', [
    lambda module: module.Convolution2D(None, 5, 3, 2, 1),
    lambda module: module.BatchNormalization(3),
    lambda module: module.BatchNormalization(axis=(0, 2, 3), use_beta=False),
])
def test_links_are_chainers(make):
    x = random(4, 3, 9, 9)
    links = make(fast_links), make(L)
    normalises = isinstance(links[0], L.BatchNormalization)
    for kwargs in [{}, {'finetune': True}] * 2 if normalises else [{}] * 2:
        results = []
        for link in links:
            np.random.seed(0)  # a convolution draws its weights when called
            link.cleargrads()
            y = link(chainer.Variable(x), **kwargs)
            y.grad = random(*y.shape, seed=1)
            y.backward()
            results.append([y.array] + [
                parameter.grad for _, parameter in sorted(link.namedparams())])
        assert_same(*results)
        x = x + 1
    saved = {}, {}
    for link, target in zip(links, saved):
        chainer.serializers.DictionarySerializer(target).save(link)
    assert saved[0].keys() == saved[1].keys()
    for key in saved[0]:
        np.testing.assert_allclose(
            saved[0][key], saved[1][key], rtol=1e-5, atol=1e-6)
    with chainer.using_config('train', False):
        assert_same([links[0](x).array], [links[1](x).array])


def test_recomputing_leaves_the_statistics_alone():
    link = fast_links.BatchNormalization(3)
    with chainer.using_config('in_recomputing', True):
        link(random(4, 3, 9, 9), finetune=True)
    assert link.N == 0
    assert (link.avg_mean == 0).all() and (link.avg_var == 1).all()


def calls():
    """Each function with its parameters set: (name, function of x)."""
    W, b = random(4, 3, 3, 3, seed=2), random(4, seed=3)
    gamma, beta, mean = (random(3, seed=seed) for seed in (4, 5, 6))
    return [
        ('convolution', lambda x: functions.convolution_2d(x, W, b, 2, 1)),
        ('normalisation',
         lambda x: functions.batch_normalization(x, gamma, beta)),
        ('fixed normalisation',
         lambda x: functions.fixed_batch_normalization(
             x, gamma, beta, mean, mean ** 2)),
        ('pooling', lambda x: functions.max_pooling_2d(x, 3, 2, 1)),
        ('relu', functions.relu),
    ]


each_function = pytest.mark.parametrize('name, function', calls())


def assert_identical(actual, expected):
    for a, e in zip(actual, expected):
        np.testing.assert_array_equal(a, e)


@each_function
def test_any_layout_and_read_only(name, function):
    x = random(6, 3, 10, 12)
    gy = random(*function(x).shape, seed=1)
    expected = run(function, [x], gy)
    strided = np.zeros((12, 3, 10, 24), np.float32)[::2, :, :, ::2]
    strided[:] = x
    read_only = x.copy()
    read_only.flags.writeable = False
    transposed = x.transpose(3, 2, 1, 0).copy().transpose(3, 2, 1, 0)
    for view in (strided, np.asfortranarray(x), read_only, transposed):
        for g in (gy, np.asfortranarray(gy)):
            assert_identical(run(function, [view], g), expected)
        np.testing.assert_array_equal(view, x)
    twos = np.broadcast_to(np.float32(2), gy.shape)
    assert_identical(
        run(function, [x], twos), run(function, [x], twos.copy()))


@each_function
def test_empty_batch_is_refused(name, function):
    with pytest.raises(ValueError, match='empty'):
        function(np.zeros((0, 3, 10, 12), np.float32))


@each_function
def test_the_same_twice(name, function):
    x = random(7, 3, 61, 67)
    first = run(function, [x])
    kept = [array.copy() for array in first]
    for _, other in calls():
        run(other, [random(9, 3, 80, 40, seed=9)])
    assert_identical(first, kept)  # nobody wrote to what was handed out
    assert_identical(run(function, [x]), kept)


def test_several_threads_at_once():
    x = random(8, 3, 40, 40)
    expected = {name: run(function, [x]) for name, function in calls()}
    failures = []

    def work():
        try:
            for name, function in calls() * 5:
                assert_identical(run(function, [x]), expected[name])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert not failures


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='no fork here')
@pytest.mark.filterwarnings('ignore::DeprecationWarning')
def test_a_forked_child_neither_hangs_nor_differs():
    x = random(8, 3, 40, 40)
    expected = {name: run(function, [x]) for name, function in calls()}
    engine = fast_cpu.engine()
    with engine.lock, engine.blas.limit(limits=1):  # the worst moment
        child = os.fork()
        if not child:
            try:
                for name, function in calls():
                    assert_identical(run(function, [x]), expected[name])
                os._exit(0)
            finally:
                os._exit(1)
    timer = threading.Timer(30, os.kill, (child, 9))
    timer.start()
    _, status = os.waitpid(child, 0)
    timer.cancel()
    assert status == 0
    for name, function in calls():
        assert_identical(run(function, [x]), expected[name])


def test_blas_threads_are_given_back():
    def n_threads():
        libraries = fast_cpu.engine().blas.lib_controllers
        return [library.num_threads for library in libraries]

    def fail(start, end):
        raise MemoryError

    before = n_threads()
    for _, function in calls():
        run(function, [random(8, 3, 40, 40)])
    with pytest.raises(MemoryError):
        fast_cpu.run(fail, 8)
    assert n_threads() == before


@each_function
def test_the_switch(name, function, monkeypatch):
    def fail(*args):
        raise AssertionError('the fast path was taken')

    monkeypatch.setattr(fast_cpu, 'run', fail)
    x = random(2, 3, 10, 12)
    with pytest.raises(AssertionError, match='fast path'):
        function(x)
    with chainer.using_config('impression_fast_cpu', False):
        run(function, [x])


def test_other_types_are_chainers():
    x, W = np.random.RandomState(0).randn(2, 3, 3, 8, 8)
    gy = np.ones((3, 3, 1, 1))
    for a, e in zip(run(functions.convolution_2d, [x, W], gy),
                    run(F.convolution_2d, [x, W], gy)):
        assert a.dtype == np.float64
        np.testing.assert_array_equal(a, e)
    assert_identical([functions.relu(x).array], [F.relu(x).array])
    assert_identical([functions.max_pooling_2d(x, 3).array],
                     [F.max_pooling_2d(x, 3).array])


@each_function
def test_double_backprop_is_chainers(name, function):
    results = []
    for fast in (True, False):
        with chainer.using_config('impression_fast_cpu', fast):
            x = chainer.Variable(random(2, 3, 7, 7))
            y = function(x)
            gx, = chainer.grad(
                [F.sum(y * y * y)], [x], enable_double_backprop=True)
            F.sum(gx * gx).backward()
            results.append([y.array, gx.array, x.grad])
    assert_same(*results, tolerance=1e-4)


CONVOLVE_ONES = """
import sys
import chainer_impression
import chainer
import numpy as np
from chainer_impression import functions
from chainer_impression.functions import fast_cpu
assert 'numba' not in sys.modules
x = np.ones((1, 1, 3, 3), 'f')
y = functions.convolution_2d(x, x)
print(float(y.array[0, 0, 0, 0]), fast_cpu.is_fast(x))
"""


def in_new_process(code, **environment):
    return subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code], cwd=ROOT,
        env=dict(os.environ, **environment), stdout=subprocess.PIPE,
        check=True, text=True, timeout=120).stdout.split()


def test_the_environment_switches_off():
    code = CONVOLVE_ONES + "assert 'numba' not in sys.modules"
    assert in_new_process(code, IMPRESSION_FAST_CPU='0') == ['9.0', 'False']


@pytest.mark.parametrize('numba', [
    'raise ImportError', 'raise SystemError("llvmlite")', 'njit = None'])
def test_without_a_working_numba(numba, tmp_path):
    (tmp_path / 'numba.py').write_text(numba)
    path = os.pathsep.join([str(tmp_path), os.environ.get('PYTHONPATH', '')])
    assert in_new_process(CONVOLVE_ONES, PYTHONPATH=path) == ['9.0', 'False']


def test_without_a_folder_for_the_compiled_kernels():
    code = """
from numba.core import caching
caching.CacheImpl._locator_classes = []
""" + CONVOLVE_ONES.replace("assert 'numba' not in sys.modules", '')
    assert in_new_process(code) == ['9.0', 'True']
