"""Lets Chainer 7.8.1 run on today's Python, NumPy and CuPy.

Chainer had its last release in January 2022. What has been removed from under
it since then is put back here, in Chainer's own modules and nowhere else:
NumPy, CuPy and everybody else's code stay as they are. Each patch stands
beside its reason and applies only from the version on that needs it; where
nothing is missing, nothing happens.

Importing :mod:`chainer_impression` first, then ``chainer``, is all a user has
to know.
"""

import contextlib
import ctypes
import functools
import importlib
import importlib.metadata
import importlib.util
import os
import sys
import types
import warnings

import numpy


def make_chainer_importable():
    """Import Chainer, patched where this stack needs it.

    Raises:
        ImportError: Chainer is not installed.
    """
    if _imported_whole():
        return
    _forget_failed_import()
    if not _exists('chainer'):
        raise ImportError(
            'Chainer is not installed; the README, under "Install", has the '
            'two lines that install it')
    _replace_environment_check()
    _load_cuda_wheels()
    with _lend_removed_names_to_numpy(), _without_dated_notices():
        try:
            importlib.import_module('chainer')
        except Exception as error:
            _import_without_cupy(error)
    _keep_removed_names_for_chainer()


def _import_without_cupy(error):
    """A GPU stack that breaks the import must not break a run on the CPU."""
    if 'cupy' not in sys.modules:
        raise error
    _forget_failed_import()
    _replace_environment_check()
    for name in [n for n in sys.modules if n.split('.')[0] == 'cupy']:
        del sys.modules[name]
    sys.modules['cupy'] = None  # "import cupy" now raises ImportError
    importlib.import_module('chainer')
    warnings.warn('CuPy is installed but broken, so there is no GPU: '
                  '{}: {}'.format(type(error).__name__, error))


@contextlib.contextmanager
def _without_dated_notices():
    """Keep notices from the user who can do nothing about them.

    setuptools below 81 announces the removal of ``pkg_resources`` to whoever
    imports it, NumPy 1.26 that of ``numpy.distutils``; Chainer advises whoever
    has CuPy 14 to reinstall it for cuDNN, which it no longer speaks (whoever
    opens a GPU is told what that means by
    :func:`chainer_impression.command_line.open_device`).
    """
    with warnings.catch_warnings():
        for notice in ('pkg_resources is deprecated', 'numpy.distutils',
                       'cuDNN is not enabled'):
            warnings.filterwarnings('ignore', r'[\s\S]*' + notice)
        yield


def _imported_whole():
    # ``config`` is the last thing that Chainer's __init__ binds.
    return hasattr(sys.modules.get('chainer'), 'config')


def _forget_failed_import():
    """Drop what a failed ``import chainer`` left behind.

    Python removes the module that failed, but keeps those that it had
    imported by then; a second attempt would mix old and new ones.
    """
    for name in list(sys.modules):
        if name.split('.')[0] in ('chainer', 'chainerx'):
            del sys.modules[name]


def _replace_environment_check():
    """Python 3.12, setuptools 81: the modules of a version check are gone.

    ``chainer._environment_check`` imports ``numpy.distutils`` (gone from
    Python 3.12 on) and ``pkg_resources`` (gone from setuptools 81 on) to warn
    of Python 3.5.0, of Accelerate on a Mac, and of CuPy versions other than
    those of 2022. None of it applies here.
    """
    name = 'chainer._environment_check'
    if all(map(_exists, ('numpy.distutils', 'pkg_resources'))):
        return
    module = types.ModuleType(name)
    module.check = lambda: None
    sys.modules[name] = module


def _exists(name):
    return importlib.util.find_spec(name) is not None


# --- NumPy 2: names that Chainer still uses --------------------------------

#: {module of Chainer: (the function that reads removed names when it is
#: called, the name it has for NumPy, {removed name: stand-in})}.
#: ``np.sctypes`` was removed in NumPy 2.0, ``np.float`` in NumPy 1.24.
_REMOVED_FROM_NUMPY = {
    'chainer.functions.array.as_strided': ('AsStridedGrad.forward', 'np', {
        'sctypes': {
            'int': [numpy.int8, numpy.int16, numpy.int32, numpy.int64],
            'float': [numpy.float16, numpy.float32, numpy.float64],
        }}),
    'chainer.functions.array.resize_images': (
        'compute_indices_and_weights', 'numpy', {'float': float}),
}


class _NumPyWithRemovedNames(types.ModuleType):
    """NumPy, plus the removed names that one function of Chainer reads."""

    def __init__(self, removed):
        super().__init__('numpy')
        self.__dict__.update(removed)

    def __getattr__(self, name):
        return getattr(numpy, name)


def _is_gone(name):
    # Asking NumPy for a removed name can warn as well as raise.
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return not hasattr(numpy, name)


@contextlib.contextmanager
def _lend_removed_names_to_numpy():
    """Lend ``np.sctypes`` to NumPy while Chainer is being imported.

    ``as_strided`` reads it in its module body, before anything of that module
    could be patched. It is taken back before the import returns.
    """
    _, _, removed = _REMOVED_FROM_NUMPY['chainer.functions.array.as_strided']
    lent = {k: v for k, v in removed.items() if _is_gone(k)}
    for name, value in lent.items():
        setattr(numpy, name, value)
    try:
        yield
    finally:
        for name in lent:
            delattr(numpy, name)


def _keep_removed_names_for_chainer():
    """Hand a NumPy with the removed names to the functions that call them.

    To these functions and not to their modules, which compare what they get
    with NumPy (``if xp is numpy``).
    """
    for module, (path, alias, removed) in _REMOVED_FROM_NUMPY.items():
        gone = {k: v for k, v in removed.items() if _is_gone(k)}
        if not gone:
            continue
        *owner, name = path.split('.')
        owner = functools.reduce(getattr, owner, sys.modules[module])
        function = getattr(owner, name)
        if not isinstance(function.__globals__[alias], _NumPyWithRemovedNames):
            setattr(owner, name, types.FunctionType(
                function.__code__,
                {**function.__globals__, alias: _NumPyWithRemovedNames(gone)},
                name, function.__defaults__, function.__closure__))


# --- CuPy 13: the CUDA libraries in wheels ---------------------------------

#: The libraries that CuPy 13 and cuDNN 8 open, each after those it needs:
#: (folder below site-packages/nvidia, file name).
_CUDA_LIBRARIES = (
    ('cuda_runtime', 'libcudart.so.12'),
    ('nvjitlink', 'libnvJitLink.so.12'),
    ('cublas', 'libcublasLt.so.12'),
    ('cublas', 'libcublas.so.12'),
    ('cuda_nvrtc', 'libnvrtc.so.12'),
    ('curand', 'libcurand.so.10'),
    ('cufft', 'libcufft.so.11'),
    ('cusparse', 'libcusparse.so.12'),
    ('cusolver', 'libcusolver.so.11'),
    ('nccl', 'libnccl.so.2'),
    ('cudnn', 'libcudnn_ops_infer.so.8'),
    ('cudnn', 'libcudnn_ops_train.so.8'),
    ('cudnn', 'libcudnn_cnn_infer.so.8'),
    ('cudnn', 'libcudnn_cnn_train.so.8'),
    ('cudnn', 'libcudnn.so.8'),
)


def _load_cuda_wheels():
    """CuPy 13: load the CUDA libraries that came as wheels from PyPI.

    CuPy 13, the last series that speaks cuDNN, looks for CUDA in the system
    only. Once a library is loaded, the loader finds it by its name. CuPy 14
    finds the wheels by itself.

    Returns:
        list of str: the paths of the libraries that were loaded.
    """
    try:
        version = importlib.metadata.version('cupy-cuda12x')
        spec = importlib.util.find_spec('nvidia')
    except Exception:  # not installed, or what is left of an installation
        return []
    if not str(version).startswith('13.') or spec is None:
        return []
    loaded = []
    for root in spec.submodule_search_locations or ():
        for folder, name in _CUDA_LIBRARIES:
            path = os.path.join(root, folder, 'lib', name)
            if os.path.exists(path):
                # A library that does not load is CuPy's to report, and only
                # to those who ask for a GPU.
                with contextlib.suppress(OSError):
                    ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
                    loaded.append(path)
    return loaded
