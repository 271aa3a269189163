"""The fast NumPy path gives what Chainer gives: values, gradients, running statistics, errors."""
import itertools
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
    not fast_cpu.is_fast(np.zeros(1, np.float32)), reason='the fast path needs Numba, or is switched off')


def random(*shape, seed=0):
    return np.random.RandomState(seed).randn(*shape).astype(np.float32)


def run(function, arrays, gy=None, **kwargs):
    """Returns what ``function`` gives for the arrays, and the gradients of all of them."""
    variables = [chainer.Variable(array) for array in arrays]
    y = function(*variables, **kwargs)
    y.grad = random(*y.shape, seed=1) if gy is None else gy
    y.backward()
    return [y.array] + [variable.grad for variable in variables]


def assert_same(actual, expected, tolerance=1e-5):
    """Asserts equality up to float32 rounding, relative to the largest value."""
    assert len(actual) == len(expected)
    for a, e in zip(actual, expected):
        assert a.shape == e.shape and a.dtype == e.dtype == np.float32
        np.testing.assert_allclose(a, e, rtol=0, atol=tolerance * max(1, np.abs(e).max()))


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
    arrays = random(*shape), random(kernels, shape[1], *ksize, seed=2), random(kernels, seed=3)
    for n in (2, 3):
        kwargs = {'stride': stride, 'pad': pad, 'cover_all': cover_all}
        assert_same(run(functions.convolution_2d, arrays[:n], **kwargs), run(F.convolution_2d, arrays[:n], **kwargs))


@pytest.mark.parametrize('kwargs', [{'dilate': 2}, {'dilate': (1, 3), 'stride': (2, 2)}, {'groups': 2}])
def test_convolution_dilated_and_grouped(kwargs):
    arrays = random(2, 4, 13, 12), random(6, 4 // kwargs.get('groups', 1), 3, 3, seed=2), random(6, seed=3)
    assert_same(run(functions.convolution_2d, arrays, pad=1, **kwargs), run(F.convolution_2d, arrays, pad=1, **kwargs))


def test_convolution_without_the_inputs_gradient():
    x, W, b = random(2, 3, 8, 8), random(4, 3, 3, 3), random(4)
    fast, slow = [], []
    for function, out in ((functions.convolution_2d, fast), (F.convolution_2d, slow)):
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
    kwargs = {'ksize': ksize, 'stride': stride, 'pad': pad, 'cover_all': cover_all}
    fast, slow = run(functions.max_pooling_2d, [x], **kwargs), run(F.max_pooling_2d, [x], **kwargs)
    np.testing.assert_array_equal(fast[0], slow[0])
    assert_same(fast[1:], slow[1:], tolerance=1e-6)  # the gradients of overlapping windows are added in another order


def test_max_pooling_of_the_networks_map_covers_all():
    assert functions.max_pooling_2d(random(1, 1, 112, 112), 3, 2, 1).shape == (1, 1, 57, 57)


def test_not_a_number_comes_through():
    x = random(2, 3, 6, 7)
    x[0, 1, 2, 3], x[1, 0, 0, 0], x[1, 2, 5, 6] = np.nan, np.inf, -np.inf
    for fast, slow in ((functions.relu, F.relu), (lambda x: functions.max_pooling_2d(x, 3, 2, 1),
                                                  lambda x: F.max_pooling_2d(x, 3, 2, 1))):
        np.testing.assert_array_equal(fast(x).array, slow(x).array)
    assert np.isnan(functions.batch_normalization(x, np.ones(3, 'f'), np.zeros(3, 'f')).array[:, :2]).all()


@pytest.mark.parametrize('shape', [(1,), (0 + 7, 5), (3, 4, 1, 33), (2, 3, 4, 5)])
def test_relu(shape):
    for a, e in zip(run(functions.relu, [random(*shape)]), run(F.relu, [random(*shape)])):
        np.testing.assert_array_equal(a, e)


@pytest.mark.parametrize('shape', [(2, 3), (4, 5, 6), (3, 4, 5, 7), (1, 2, 3, 3), (2, 1, 1, 9001), (3, 33, 1, 50)])
def test_batch_normalization(shape):
    arrays = random(*shape) * 3 + 100, random(shape[1], seed=2), random(shape[1], seed=3)
    statistics = [], []
    results = []
    for function, (mean, var) in zip((functions.batch_normalization, F.batch_normalization),
                                     ((np.ones(shape[1], 'f'), np.ones(shape[1], 'f')) for _ in range(2))):
        results.append(run(function, arrays, running_mean=mean, running_var=var, decay=.7, eps=1e-3))
        statistics[len(results) - 1][:] = mean, var
    # Chainer's own float32 mean of values around 100 is not better than 1e-5.
    assert_same(*results, tolerance=1e-4)
    assert_same(*statistics)
    exact = np.float64(arrays[0]).mean(axis=(0,) + tuple(range(2, len(shape))))
    np.testing.assert_allclose((statistics[0][0] - .7) / .3, exact, rtol=1e-5)


def test_batch_normalization_over_other_axes():
    arrays = random(4, 3, 5, 5), random(3, 5, 5, seed=2), random(3, 5, 5, seed=3)
    assert_same(run(functions.batch_normalization, arrays, axis=0), run(F.batch_normalization, arrays, axis=0))


@pytest.mark.parametrize('shape', [(2, 3), (3, 4, 5, 7), (1, 2, 1, 999)])
def test_fixed_batch_normalization(shape):
    c = shape[1]
    arrays = random(*shape), random(c, seed=2), random(c, seed=3), random(c, seed=4), random(c, seed=5) ** 2
    assert_same(run(functions.fixed_batch_normalization, arrays, eps=1e-3),
                run(F.fixed_batch_normalization, arrays, eps=1e-3))


def test_links_are_chainers():
    x = random(4, 3, 9, 9)
    for make in (lambda module: module.Convolution2D(None, 5, 3, 2, 1),
                 lambda module: module.BatchNormalization(3),
                 lambda module: module.BatchNormalization(axis=(0, 2, 3), use_beta=False)):
        links = [make(fast_links), make(L)]
        for step, kwargs in itertools.product(range(2), ({}, {'finetune': True})):
            if kwargs and not isinstance(links[0], L.BatchNormalization):
                continue
            grads = []
            for link in links:
                np.random.seed(0)  # the convolution draws its weights at the first call
                link.cleargrads()
                y = link(chainer.Variable(x + step), **kwargs)
                y.grad = random(*y.shape, seed=1)
                y.backward()
                grads.append([y.array] + [p.grad for _, p in sorted(link.namedparams())])
            assert_same(*grads)
        saved = [{}, {}]
        for link, target in zip(links, saved):
            chainer.serializers.DictionarySerializer(target).save(link)
        assert saved[0].keys() == saved[1].keys()
        for key in saved[0]:
            np.testing.assert_allclose(saved[0][key], saved[1][key], rtol=1e-5, atol=1e-6)
        with chainer.using_config('train', False):
            assert_same([links[0](x).array], [links[1](x).array])


def test_recomputing_leaves_the_statistics_alone():
    link = fast_links.BatchNormalization(3)
    with chainer.using_config('in_recomputing', True):
        link(random(4, 3, 9, 9), finetune=True)
    assert link.N == 0 and not link.avg_mean.any() and (link.avg_var == 1).all()


def calls():
    """One call of each function: (name, function of the input, input)."""
    W, b, gamma, beta = random(4, 3, 3, 3, seed=2), random(4, seed=3), random(3, seed=4), random(3, seed=5)
    return [
        ('convolution', lambda x: functions.convolution_2d(x, W, b, 2, 1)),
        ('normalization', lambda x: functions.batch_normalization(x, gamma, beta)),
        ('fixed normalization', lambda x: functions.fixed_batch_normalization(x, gamma, beta, gamma, gamma ** 2)),
        ('pooling', lambda x: functions.max_pooling_2d(x, 3, 2, 1)),
        ('relu', functions.relu),
    ]


@pytest.mark.parametrize('name, function', calls())
def test_any_layout_and_read_only(name, function):
    x = random(6, 3, 10, 12)
    y = function(x)
    gy = random(*y.shape, seed=1)
    expected = run(function, [x], gy)
    strided = np.zeros((12, 3, 10, 24), np.float32)[::2, :, :, ::2]
    strided[:] = x
    read_only = x.copy()
    read_only.flags.writeable = False
    for view in (strided, np.asfortranarray(x), read_only, x.transpose(3, 2, 1, 0).copy().transpose(3, 2, 1, 0)):
        for g in (gy, np.asfortranarray(gy)):
            for a, e in zip(run(function, [view], g), expected):
                np.testing.assert_array_equal(a, e)
        np.testing.assert_array_equal(view, x)
    broadcast = np.broadcast_to(np.float32(2), gy.shape)
    for a, e in zip(run(function, [x], broadcast), run(function, [x], broadcast.copy())):
        np.testing.assert_array_equal(a, e)


@pytest.mark.parametrize('name, function', calls())
def test_empty_batch_is_refused(name, function):
    with pytest.raises(ValueError, match='empty'):
        function(np.zeros((0, 3, 10, 12), np.float32))


@pytest.mark.parametrize('name, function', calls())
def test_the_same_twice(name, function):
    x = random(7, 3, 61, 67)
    first = run(function, [x])
    kept = [array.copy() for array in first]
    for _, other in calls():
        run(other, [random(9, 3, 80, 40, seed=9)])
    for a, b, c in zip(first, kept, run(function, [x])):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)


def test_two_threads_at_once():
    x = random(8, 3, 40, 40)
    expected = {name: run(function, [x]) for name, function in calls()}
    failures = []

    def work():
        try:
            for _ in range(5):
                for name, function in calls():
                    for a, e in zip(run(function, [x]), expected[name]):
                        np.testing.assert_array_equal(a, e)
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
    with fast_cpu.engine().lock:  # the worst moment
        child = os.fork()
        if not child:
            try:
                for name, function in calls():
                    for a, e in zip(run(function, [x]), expected[name]):
                        np.testing.assert_array_equal(a, e)
                os._exit(0)
            finally:
                os._exit(1)
    timer = threading.Timer(30, os.kill, (child, 9))
    timer.start()
    _, status = os.waitpid(child, 0)
    timer.cancel()
    assert status == 0
    for name, function in calls():
        for a, e in zip(run(function, [x]), expected[name]):
            np.testing.assert_array_equal(a, e)


def test_blas_threads_are_given_back():
    before = [library.num_threads for library in fast_cpu.engine().blas.lib_controllers]
    for _, function in calls():
        run(function, [random(8, 3, 40, 40)])
    with pytest.raises(Exception):
        functions.convolution_2d(random(8, 3, 40, 40), random(4, 2, 3, 3))
    assert [library.num_threads for library in fast_cpu.engine().blas.lib_controllers] == before


def test_the_switch(monkeypatch):
    def fail(*args):
        raise AssertionError('the fast path was taken')

    monkeypatch.setattr(fast_cpu, 'run', fail)
    x = random(2, 3, 10, 12)
    for _, function in calls():
        with pytest.raises(AssertionError, match='fast path'):
            function(x)
        with chainer.using_config('impression_fast_cpu', False):
            run(function, [x])
            assert function(np.zeros((2, 3, 10, 12), np.float32)).dtype == np.float32


def test_other_types_are_chainers():
    arrays = random(2, 3, 8, 8).astype(np.float64), random(4, 3, 3, 3).astype(np.float64)
    for a, e in zip(run(functions.convolution_2d, arrays, np.ones((2, 4, 6, 6))),
                    run(F.convolution_2d, arrays, np.ones((2, 4, 6, 6)))):
        assert a.dtype == np.float64
        np.testing.assert_array_equal(a, e)
    x = arrays[0]
    np.testing.assert_array_equal(functions.relu(x).array, F.relu(x).array)
    np.testing.assert_array_equal(functions.max_pooling_2d(x, 3).array, F.max_pooling_2d(x, 3).array)


@pytest.mark.parametrize('name, function', calls())
def test_double_backprop_is_chainers(name, function):
    results = []
    for fast in (True, False):
        with chainer.using_config('impression_fast_cpu', fast):
            x = chainer.Variable(random(2, 3, 7, 7))
            y = function(x)
            gx, = chainer.grad([F.sum(y * y * y)], [x], enable_double_backprop=True)
            F.sum(gx * gx).backward()
            results.append([y.array, gx.array, x.grad])
    assert_same(*results, tolerance=1e-4)


def in_new_process(code, **environment):
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], cwd=ROOT, env=dict(os.environ, **environment),
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
    return done.stdout.split()


def test_import_is_lazy_and_the_environment_switches_off():
    code = ('import sys, chainer_impression, chainer_impression.functions as f, chainer, numpy as np\n'
            'assert "numba" not in sys.modules\n'
            'x = np.ones((1, 1, 3, 3), "f")\n'
            'assert (f.convolution_2d(x, x).array == 9).all() and not chainer.config.impression_fast_cpu\n'
            'assert "numba" not in sys.modules')
    in_new_process(code, IMPRESSION_FAST_CPU='0')


@pytest.mark.parametrize('broken', ['raise ImportError', 'raise SystemError("llvmlite does not fit")', 'njit = None'])
def test_without_a_working_numba(broken, tmp_path):
    (tmp_path / 'numba.py').write_text(broken)
    code = ('import chainer_impression, chainer_impression.functions as f, numpy as np\n'
            'x = np.ones((1, 1, 3, 3), "f")\n'
            'print(f.convolution_2d(x, x).array.ravel()[0], f.fast_cpu.is_fast(x))')
    path = os.pathsep.join([str(tmp_path), os.environ.get('PYTHONPATH', '')])
    assert in_new_process(code, PYTHONPATH=path) == ['9.0', 'False']
