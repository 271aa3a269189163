"""Tiny cached clips with labels, and the commands that train on them."""

import importlib.util
import os
import random
import signal
import subprocess
import sys
import time

import numpy

from chainer_impression import media
from chainer_impression.datasets import clip_cache
from chainer_impression.datasets.labels import write_csv
from chainer_impression.links.weights import save_weights

from trained_network import trained_network

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def make_cached_clip(folder, name, seconds, tone=440):
    """Write a cached clip of a test picture and a tone."""
    source = os.path.join(str(folder), name)
    subprocess.run(
        [media.ffmpeg_binary(), '-loglevel', 'error', '-y',
         '-f', 'lavfi', '-i', 'testsrc2=size=160x120:rate=25:duration={}'
         .format(seconds), '-f', 'lavfi', '-i',
         'sine=frequency={}:sample_rate=16000:duration={}'.format(
             tone, seconds), '-pix_fmt', 'yuv420p', '-c:v', 'mpeg4',
         '-c:a', 'pcm_s16le', '-f', 'matroska', source], check=True)
    path = source + clip_cache.EXTENSION
    clip_cache.write(source, path)
    os.unlink(source)
    return path


def make_split(folder, split, durations, seed=0):
    """Cache clips ``NAME.mp4`` of so many seconds; write ``SPLIT.csv``."""
    cache = folder / split
    cache.mkdir()
    generator = random.Random(seed)
    labels = {}
    for i, (name, seconds) in enumerate(durations.items()):
        make_cached_clip(cache, name + '.mp4', seconds, 200 + 90 * i)
        labels[name + '.mp4'] = [generator.random() for _ in range(5)]
    write_csv(folder / (split + '.csv'), labels)


def split_arguments(folder, *splits):
    """``--SPLIT CACHE LABELS`` for each split."""
    return [str(argument) for split in splits for argument in (
        '--' + split, folder / split, folder / (split + '.csv'))]


def start(script, *arguments):
    """Begin a command of the project in a process of its own."""
    return subprocess.Popen(
        [sys.executable, os.path.join(ROOT, 'experiments', script),
         *map(str, arguments)], text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=dict(os.environ, PYTHONPATH=ROOT, PYTHONIOENCODING='utf-8'))


def run(script, *arguments):
    """Run a command of the project.

    Returns:
        tuple: its status, what it printed, and what it said of errors.
    """
    process = start(script, *arguments)
    out, err = process.communicate(timeout=200)
    assert 'Traceback' not in err, err
    return process.returncode, out, err


def kill_when(process, path):
    """Kill a process as soon as a file is there.

    Returns:
        bool: it was there before the process ended by itself.
    """
    while not os.path.exists(path) and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def contents(folder):
    """Files of a run bit for bit, but for its pictures and snapshots."""
    found = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            key = os.path.relpath(path, folder)
            if name == 'model.npz':
                with numpy.load(path) as file:
                    found.update({key + '/' + array: file[array].tobytes()
                                  for array in file})
            elif name.endswith(('.csv', '.json', '.md')):
                with open(path, 'rb') as file:
                    found[key] = file.read()
    return found


def call(script, *arguments):
    """Run a command of the project in this process, which is sooner.

    Returns:
        module: the script, after its ``main``.

    Raises:
        ImpressionError, SystemExit: what its ``main`` raises.
    """
    module = load(script)
    before, sys.argv = sys.argv, [script, *map(str, arguments)]
    try:
        module.main()
    finally:
        sys.argv = before
    return module


def load(script):
    """A command of the project as a module, its ``main`` not called."""
    spec = importlib.util.spec_from_file_location(
        'experiment', os.path.join(ROOT, 'experiments', script))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def save_networks(folder):
    """Weights of both kinds: ``five.npz``, ``other.npz`` and ``one.npz``.

    Returns:
        AudiovisualStream: the network in ``five.npz``.
    """
    network = trained_network(seed=1)
    save_weights(folder / 'five.npz', network)
    save_weights(folder / 'other.npz', trained_network(seed=2))
    save_weights(folder / 'one.npz', network.for_trait('openness'))
    return network
