"""What results were made with: versions and the machine."""

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess

#: Packages whose version can show in a result.
_PACKAGES = ('numpy', 'scipy', 'chainer', 'cupy', 'numba', 'openvino', 'soxr',
             'pillow', 'moviepy', 'imageio-ffmpeg')


def describe_environment():
    """Versions and machine, found without starting anything on a GPU.

    Returns:
        dict: what it is to a text, both for people.
    """
    from chainer_impression import __version__
    versions = {'chainer-impression': __version__,
                'python': platform.python_version()}
    for name in _PACKAGES:
        versions[name] = _version(name)
    return {**versions, 'system': platform.platform(), 'processor':
            _processor(), 'graphics processor': _gpus()}


def _version(package):
    # CuPy's wheels are named after their CUDA, such as cupy-cuda12x.
    for found in importlib.metadata.distributions():
        name = (found.metadata['Name'] or '').lower().replace('_', '-')
        if name == package or (package == 'cupy'
                               and name.startswith('cupy-cuda')):
            return found.version
    return 'not installed'


def _processor():
    name = platform.processor() or platform.machine()
    try:
        with open('/proc/cpuinfo', encoding='utf-8') as file:
            match = re.search(r'^model name\s*: (.*)$', file.read(), re.M)
        name = match[1] if match else name
    except OSError:
        pass  # not Linux
    count = len(os.sched_getaffinity(0)) \
        if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    return '{}, {} cores'.format(name, count)


def _gpus():
    if shutil.which('nvidia-smi') is None:
        return 'none'
    done = subprocess.run(
        ['nvidia-smi', '--query-gpu=name,driver_version',
         '--format=csv,noheader'], stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding='utf-8',
        errors='replace')
    return '; '.join(done.stdout.split('\n')).strip('; ') or 'none'
