"""Chainer 7.8.1 on today's stack: each case in a fresh process."""

import ast
import os
import sys
import textwrap

import numpy
import pytest

NUMPY_2 = int(numpy.__version__.split('.')[0]) >= 2


@pytest.fixture
def run(run_python, tmp_path):
    """Run lines of Python in a fresh process; gives what it prints.

    Folders named in ``path`` stand before all others on ``sys.path``.
    """
    def run(code, path=(), options=(), status=0):
        done = run_python(
            *options, '-c', 'import sys; sys.path[:0] = {!r}\n{}'.format(
                list(map(str, path)), textwrap.dedent(code)), cwd=tmp_path)
        assert done.returncode == status, done.stderr
        run.stderr = done.stderr
        return done.stdout
    return run


def package(folder, name, code=''):
    """Write a package of a single file; gives its folder."""
    place = folder / name
    place.mkdir(parents=True)
    (place / '__init__.py').write_text(textwrap.dedent(code))
    return place


# --- importing ---------------------------------------------------------------

def test_import_is_silent(run):
    out = run('''
        import chainer_impression
        import chainer
        print(chainer.__version__, chainer.Variable, chainer.config.train)
        ''')
    assert out == "7.8.1 <class 'chainer.variable.Variable'> True\n"
    assert run.stderr == ''


def test_warnings_are_errors(run):
    # A test suite that turns warnings into errors can still import it.
    assert run('import chainer_impression; print(1)',
               options=['-W', 'error::UserWarning']) == '1\n'


def test_chainer_first(run):
    # Where Chainer alone does not work, it failed half-way; where it works,
    # it is left as it is.
    assert run('''
        try:
            import chainer
        except Exception:
            first = None
        else:
            first = chainer
        from chainer_impression import AudiovisualStream
        import chainer
        assert first in (None, chainer)
        assert AudiovisualStream.__mro__[1] is chainer.Chain
        names = [n for n in sys.modules if n.split('.')[0] == 'chainer']
        for name in names:
            parent, _, child = name.rpartition('.')
            if parent and hasattr(sys.modules[parent], child):
                assert getattr(sys.modules[parent], child) is not None
        print(AudiovisualStream().count_params())
        ''') == '5601989\n'


def test_chainer_that_fails_first(run, tmp_path):
    # Even where this Chainer would work: its first import is made to fail.
    assert run('''
        sys.modules['chainer.links'] = None
        try:
            import chainer
        except Exception as error:
            print('failed')
        sys.modules.pop('chainer.links', None)
        import chainer_impression, chainer
        print(chainer.links.Linear(2, 1).W.shape)
        ''') == 'failed\n(1, 2)\n'


def test_imported_twice_and_reloaded(run):
    assert run('''
        import importlib, chainer_impression, chainer
        from chainer_impression import compat
        grad = sys.modules['chainer.functions.array.as_strided'].AsStridedGrad
        before = grad.forward
        compat.make_chainer_importable()
        importlib.reload(compat).make_chainer_importable()
        print(grad.forward is before, sys.modules['chainer'] is chainer)
        ''') == 'True True\n'


def test_without_chainer(run, tmp_path):
    out = run('''
        import importlib.machinery
        find = importlib.machinery.PathFinder.find_spec
        importlib.machinery.PathFinder.find_spec = lambda name, *rest: (
            None if name.split('.')[0] == 'chainer' else find(name, *rest))
        try:
            import chainer_impression
        except ImportError as error:
            print(error)
        ''')
    assert 'Chainer is not installed' in out and 'README' in out


def test_numpy_is_left_as_it_is(run):
    assert run('''
        import warnings
        warnings.simplefilter('ignore')
        import numpy
        before = dict(vars(numpy))
        has = hasattr(numpy, 'sctypes'), hasattr(numpy, 'float')
        import chainer_impression, chainer
        # Submodules that the import brought along are no change.
        changed = {k for k, v in vars(numpy).items()
                   if before.get(k, v) is not v or k not in before}
        changed = {k for k in changed
                   if not isinstance(getattr(numpy, k), type(sys))}
        print(has == (hasattr(numpy, 'sctypes'), hasattr(numpy, 'float')),
              changed)
        ''') == 'True set()\n'
    if NUMPY_2:
        assert not hasattr(numpy, 'sctypes')


@pytest.mark.skipif(NUMPY_2 or sys.version_info >= (3, 12),
                    reason='this stack needs patches')
def test_nothing_is_patched_where_nothing_is_missing(run):
    pytest.importorskip('pkg_resources')
    assert run('''
        import chainer_impression, chainer, numpy
        grad = sys.modules['chainer.functions.array.as_strided'].AsStridedGrad
        print(chainer._environment_check.__file__ is not None,
              grad.forward.__globals__['np'] is numpy)
        ''') == 'True True\n'


def test_patched_modules_still_have_numpy(run):
    # Some compare: "if xp is numpy".
    assert run('''
        import chainer_impression, chainer, numpy
        print(chainer.functions.array.as_strided.np is numpy,
              sys.modules['chainer.functions.array.resize_images'].numpy
              is numpy)
        ''') == 'True True\n'


def test_every_name_that_chainer_reads_of_numpy_is_there():
    # ``numpy.object``, say, is read nowhere in 7.8.1. Were another name to go
    # from NumPy, this finds it.
    import chainer

    from chainer_impression import compat
    root = os.path.dirname(chainer.__file__)
    missing = set()
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            if not name.endswith('.py') or name == '_environment_check.py':
                continue
            module = 'chainer.' + os.path.relpath(path, root)[:-3].replace(
                os.sep, '.')
            *_, lent = compat._REMOVED_FROM_NUMPY.get(module, [{}])
            with open(path, encoding='utf-8') as file:
                tree = ast.parse(file.read())
            missing.update(
                (module, node.attr) for node in ast.walk(tree)
                if isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id in ('numpy', 'np')
                and node.attr not in lent and compat._is_gone(node.attr))
    assert not missing


# --- what was patched works --------------------------------------------------

def test_as_strided_forward_and_backward():
    import chainer
    import chainer.functions as F
    for dtype in (numpy.float32, numpy.float64):
        x = chainer.Variable(numpy.arange(6, dtype=dtype))
        y = F.as_strided(x, (3, 2), (1, 1), 1)
        numpy.testing.assert_array_equal(y.array, [[1, 2], [2, 3], [3, 4]])
        F.sum(y * y).backward()
        numpy.testing.assert_array_equal(x.grad, [0, 2, 8, 12, 8, 0])


@pytest.mark.parametrize('keywords', [
    {}, {'align_corners': False}, {'mode': 'nearest'},
    {'mode': 'nearest', 'align_corners': False}])
def test_resize_images(keywords):
    import chainer
    import chainer.functions as F
    x = chainer.Variable(numpy.arange(12, dtype='f4').reshape(1, 1, 3, 4))
    y = F.resize_images(x, (6, 8), **keywords)
    assert y.shape == (1, 1, 6, 8) and y.array[0, 0, 0, 0] == 0
    F.sum(y).backward()
    assert x.grad.sum() == pytest.approx(48)


def test_trainer_stops_and_resumes(tmp_path):
    import chainer
    from chainer import training
    from chainer.training import extensions

    def make(out, epochs):
        numpy.random.seed(0)
        model = chainer.links.Classifier(chainer.links.Linear(4, 3))
        optimizer = chainer.optimizers.Adam().setup(model)
        data = chainer.datasets.TupleDataset(
            numpy.random.rand(20, 4).astype('f4'),
            numpy.random.randint(0, 3, 20).astype('i4'))
        iterator = chainer.iterators.SerialIterator(data, 5)
        trainer = training.Trainer(
            training.updaters.StandardUpdater(iterator, optimizer),
            (epochs, 'epoch'), str(out))
        trainer.extend(extensions.LogReport(trigger=(1, 'epoch')))
        trainer.extend(extensions.ExponentialShift('alpha', 0.5),
                       trigger=(1, 'epoch'))
        trainer.extend(extensions.Evaluator(
            chainer.iterators.SerialIterator(data, 5, False, False), model))
        trainer.extend(extensions.snapshot(filename='snapshot'),
                       trigger=(1, 'epoch'))
        trainer.extend(extensions.PrintReport(
            ['epoch', 'main/loss'], out=open(os.devnull, 'w')))
        return trainer, model

    def same(one, other):
        one, other = (chainer.serializers.npz.serialize(model)
                      for model in (one, other))
        for name in one:
            numpy.testing.assert_array_equal(one[name], other[name], name)

    whole, trained = make(tmp_path / 'whole', 3)
    whole.run()
    first, _ = make(tmp_path / 'parts', 2)
    first.run()
    second, resumed = make(tmp_path / 'parts', 3)
    chainer.serializers.load_npz(str(tmp_path / 'parts/snapshot'), second)
    assert second.updater.iteration == 8
    second.run()
    same(trained, resumed)
    reports = [trainer.get_extension('LogReport').log
               for trainer in (whole, second)]
    assert [r['epoch'] for r in reports[1]] == [1, 2, 3]
    for one, other in zip(*reports):
        assert one['main/loss'] == other['main/loss']


def test_none_is_saved_and_loaded(tmp_path):
    # An array of an object is what the npz serializer makes of None.
    import chainer
    link = chainer.Link()
    link.add_persistent('nothing', None)
    link.add_persistent('count', 3)
    path = str(tmp_path / 'link.npz')
    chainer.serializers.save_npz(path, link)
    other = chainer.Link()
    other.add_persistent('nothing', 5)
    other.add_persistent('count', 0)
    chainer.serializers.load_npz(path, other)
    assert other.nothing is None and other.count == 3


def test_iterators_that_use_processes():
    import chainer
    for iterator in (
            chainer.iterators.MultithreadIterator(range(6), 4, n_threads=2),
            chainer.iterators.MultiprocessIterator(
                range(6), 4, repeat=False, shuffle=False, n_processes=1)):
        assert len(next(iterator)) == 4
        iterator.finalize()


# --- a broken GPU stack ------------------------------------------------------

@pytest.mark.parametrize('code', [
    'raise ImportError("libcuda.so.1: cannot open shared object file")',
    'raise RuntimeError("CUDA driver version is insufficient")',
    'raise OSError("libcublas.so.12 is damaged")',
    'raise AttributeError("module numpy has no attribute")',
    '',  # imports, but has nothing that Chainer asks for
    'import numpy\nndarray = numpy.ndarray\n__version__ = "99.0.0"',
    'raise SystemError',
])
def test_broken_cupy_never_breaks_a_cpu_run(run, tmp_path, code):
    package(tmp_path / 'broken', 'cupy', code)
    assert run('''
        import chainer_impression, chainer, numpy
        print(chainer.backends.cuda.available)
        stream = chainer_impression.AuditoryStream()
        print(stream.extract_features(numpy.zeros(100, 'f4')).shape)
        ''', path=[tmp_path / 'broken']) == 'False\n(256,)\n'
    assert 'Traceback' not in run.stderr


def test_broken_cupy_is_said_to_who_asks_for_a_gpu(run, tmp_path):
    package(tmp_path / 'broken', 'cupy', 'raise RuntimeError("no luck")')
    out = run('''
        import chainer_impression
        from chainer_impression import command_line, errors
        try:
            command_line.open_device('0')
        except errors.ImpressionError as error:
            print(error)
        ''', path=[tmp_path / 'broken'])
    assert out.startswith('--device 0: there is no such device (')
    assert 'no luck' in out
    assert run.stderr == ''


def test_cupy_that_breaks_chainer_itself(run, tmp_path):
    # What Chainer does not expect, such as a CuPy of another age.
    package(tmp_path / 'broken', 'cupy', '''
        from numpy import *
        from numpy import ndarray
        __version__ = '99.0.0'
        class cuda:
            class cublas: pass
        ''')
    package(tmp_path / 'broken' / 'cupy', 'cuda', 'cublas = cudnn = None')
    package(tmp_path / 'broken' / 'cupy', 'random')
    assert run('''
        import chainer_impression, chainer
        print(chainer.backends.cuda.available)
        ''', path=[tmp_path / 'broken']) == 'False\n'


def test_broken_chainer_is_not_blamed_on_cupy(run, tmp_path):
    package(tmp_path / 'broken', 'chainer', 'raise RuntimeError("no luck")')
    assert run('''
        try:
            import chainer_impression
        except RuntimeError as error:
            print(error)
        ''', path=[tmp_path / 'broken']) == 'no luck\n'


def test_device_that_is_not_there(run):
    names = ['0', '@cupy:0', '@cupy:7', '@intel64', 'gpu', '', '1e3',
             '@chainerx', 'native:0', '@numpy:3', '999']
    lines = run('''
        import chainer_impression
        from chainer_impression import command_line, errors
        for name in {!r}:
            try:
                command_line.open_device(name)
            except errors.ImpressionError as error:
                print(error)
            else:
                print('opened', name)
        '''.format(names)).splitlines()
    assert len(lines) == len(names)
    for name, line in zip(names, lines):
        assert line.startswith('--device {}: there is no such device ('.format(
            name)) or line in ('opened 0', 'opened @cupy:0')


def test_cpu_device(run):
    assert run('''
        import chainer_impression
        from chainer_impression import command_line
        print(*map(command_line.open_device, ('-1', '@numpy')))
        ''', options=['-W', 'error::UserWarning']) == '@numpy @numpy\n'


# --- the CUDA libraries that come in wheels ----------------------------------

FOLDERS = {
    'cuda_runtime': ['libcudart.so.12'], 'nvjitlink': ['libnvJitLink.so.12'],
    'cublas': ['libcublas.so.12', 'libcublasLt.so.12'],
    'cuda_nvrtc': ['libnvrtc.so.12'], 'curand': ['libcurand.so.10'],
    'cufft': ['libcufft.so.11'], 'cusparse': ['libcusparse.so.12'],
    'cusolver': ['libcusolver.so.11'], 'nccl': ['libnccl.so.2'],
    'cudnn': ['libcudnn.so.8', 'libcudnn_ops_infer.so.8',
              'libcudnn_ops_train.so.8', 'libcudnn_cnn_infer.so.8',
              'libcudnn_cnn_train.so.8'],
}
#: Each library stands after those it needs.
NEEDS = {
    'libcublas.so.12': ['libcublasLt.so.12'],
    'libcusparse.so.12': ['libnvJitLink.so.12'],
    'libcusolver.so.11': ['libcublas.so.12', 'libcublasLt.so.12',
                          'libcusparse.so.12', 'libnvJitLink.so.12'],
    'libcudnn_ops_infer.so.8': ['libcublas.so.12', 'libcublasLt.so.12'],
    'libcudnn_ops_train.so.8': ['libcudnn_ops_infer.so.8'],
    'libcudnn_cnn_infer.so.8': ['libcudnn_ops_infer.so.8'],
    'libcudnn_cnn_train.so.8': [
        'libcudnn_cnn_infer.so.8', 'libcudnn_ops_train.so.8'],
    'libcudnn.so.8': ['libcudnn_ops_infer.so.8', 'libcudnn_cnn_infer.so.8'],
}


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    """Wheels of nothing, and the names of the libraries that are loaded."""
    from chainer_impression import compat
    loaded = []

    def load(path, mode):
        assert mode == compat.ctypes.RTLD_GLOBAL
        loaded.append(path)
        if os.path.getsize(path):
            raise OSError('damaged')

    def install(version, folders=FOLDERS):
        root = tmp_path / 'site'
        info = root / 'cupy_cuda12x-{}.dist-info'.format(version)
        info.mkdir(parents=True)
        (info / 'METADATA').write_text(
            'Metadata-Version: 2.1\nName: cupy-cuda12x\nVersion: {}\n'.format(
                version))
        for folder, names in folders.items():
            (root / 'nvidia' / folder / 'lib').mkdir(parents=True)
            for name in names:
                (root / 'nvidia' / folder / 'lib' / name).touch()
        monkeypatch.setattr(sys, 'path', [str(root), *sys.path])
        monkeypatch.delitem(sys.modules, 'nvidia', raising=False)
        return root
    monkeypatch.setattr(compat.ctypes, 'CDLL', load)
    install.loaded = loaded
    return install


def names(paths):
    return [os.path.basename(path) for path in paths]


def test_libraries_are_loaded_in_the_order_of_their_needs(wheels):
    from chainer_impression import compat
    wheels('13.6.0')
    loaded = compat._load_cuda_wheels()
    assert loaded == wheels.loaded
    assert sorted(names(loaded)) == sorted(sum(FOLDERS.values(), []))
    place = {name: i for i, name in enumerate(names(loaded))}
    for name, needed in NEEDS.items():
        assert all(place[other] < place[name] for other in needed), name


@pytest.mark.parametrize('version', ['12.3.0', '14.0.0', '14.2.0'])
def test_other_series_of_cupy_find_their_libraries(wheels, version):
    from chainer_impression import compat
    wheels(version)
    assert compat._load_cuda_wheels() == wheels.loaded == []


def test_no_cupy(monkeypatch):
    from chainer_impression import compat

    def version(name):
        raise compat.importlib.metadata.PackageNotFoundError(name)
    monkeypatch.setattr(compat.importlib.metadata, 'version', version)
    assert compat._load_cuda_wheels() == []


@pytest.mark.parametrize('metadata', [
    None, '', 'Metadata-Version: 2.1\nName: cupy-cuda12x\nVersion: x\n'])
def test_what_an_installation_of_cupy_left_behind(run, tmp_path, metadata):
    info = tmp_path / 'site' / 'cupy_cuda12x-13.6.0.dist-info'
    info.mkdir(parents=True)
    if metadata is not None:
        (info / 'METADATA').write_text(metadata)
    assert run('import chainer_impression; print(1)',
               path=[tmp_path / 'site']) == '1\n'


def test_cupy_of_the_system_without_wheels(wheels):
    from chainer_impression import compat
    wheels('13.0.0rc1', {})
    assert compat._load_cuda_wheels() == []


def test_some_wheels_and_a_damaged_library(wheels):
    from chainer_impression import compat
    root = wheels('13.3.0', {name: FOLDERS[name] for name in (
        'cublas', 'nccl')})
    (root / 'nvidia/cublas/lib/libcublas.so.12').write_text('damaged')
    assert names(compat._load_cuda_wheels()) == [
        'libcublasLt.so.12', 'libnccl.so.2']
    assert names(wheels.loaded) == [
        'libcublasLt.so.12', 'libcublas.so.12', 'libnccl.so.2']


def test_chainers_advice_for_cudnn_is_not_given(recwarn, monkeypatch):
    from chainer.backends import cuda

    from chainer_impression import compat
    # As it is with CuPy and without cuDNN.
    monkeypatch.setattr(cuda, 'available', True)
    monkeypatch.setattr(cuda, 'cudnn_enabled', False)
    monkeypatch.setattr(cuda, '_cudnn_disabled_by_user', False, raising=False)
    monkeypatch.setattr(
        cuda.check_cuda_available, '_already_warned', False, raising=False)
    with compat._without_dated_notices():
        cuda.check_cuda_available()
    assert not recwarn.list


def test_gpu_without_cudnn_is_said_once(monkeypatch, recwarn):
    import chainer
    from chainer.backends import cuda

    from chainer_impression import command_line

    class Device(cuda.GpuDevice):
        def __init__(self):
            pass

        def use(self):
            pass
    monkeypatch.setattr(chainer, 'get_device', lambda name: Device())
    monkeypatch.setattr(cuda, 'cudnn_enabled', False)
    command_line.open_device('0')
    assert ['cuDNN' in str(w.message) for w in recwarn.list] == [True]
    recwarn.clear()
    monkeypatch.setattr(cuda, 'cudnn_enabled', True)
    command_line.open_device('0')
    assert not recwarn.list
