"""The network in all the ways in which it is compared, by name.

- ``stock Chainer``: this project's links with Chainer's own functions
- ``Chainer``: the same with this project's functions
- ``OpenVINO``, ``OpenVINO bfloat16``: this project's engines
- ``onnxruntime``: on the graphs of this project's export
- ``PyTorch``: the same network, written for the comparison
"""

import atexit

import chainer_impression
import chainer
import numpy

from benchmarks.measure import Missing
from chainer_impression import training
from chainer_impression.engines import extra, make_engine
from chainer_impression.links.weights import load_weights
from chainer_impression.read_ahead import open_file, read_clips
from chainer_impression.whole_clip import pool_audio, pool_frames

STOCK, OURS, TORCH = 'stock Chainer', 'Chainer', 'PyTorch'
OPENVINO, BFLOAT16 = 'OpenVINO', 'OpenVINO bfloat16'
ONNXRUNTIME = 'onnxruntime'

#: Those that can train, and those that can predict.
TRAINING = (STOCK, OURS, TORCH)
PREDICTING = (STOCK, OURS, TORCH, OPENVINO, BFLOAT16, ONNXRUNTIME)


def _model(weights, kind):
    chainer.global_config.impression_fast_cpu = kind != STOCK
    model = chainer_impression.AudiovisualStream()
    load_weights(weights, model)
    return model


# --- training ---------------------------------------------------------------

def training_step(kind, weights, examples):
    """What runs one step of training: forward, backward, Adam.

    Args:
        kind (str): one of :data:`TRAINING`.
        weights: an npz file.
        examples: an npz file of ``audio``, ``frames``, ``traits``: a batch.

    Returns:
        a function of the batch size.
    """
    with numpy.load(examples) as file:
        arrays = [file[name] for name in ('audio', 'frames', 'traits')]

    def batch(size):
        # Examples are used again where the batch is larger.
        return [numpy.resize(a, (size, *a.shape[1:])) for a in arrays]

    if kind == TORCH:
        return _torch_training_step(weights, batch)
    model = _model(weights, kind)
    optimizer = training.make_optimizer(model)
    loss_function = training.mean_absolute_error(model)

    def run(size):
        optimizer.update(loss_function, *batch(int(size)))
    return run


def _torch_training_step(weights, batch):
    from benchmarks.torch_network import AudiovisualNetwork, torch
    model = AudiovisualNetwork(weights)
    optimizer = torch.optim.Adam(
        model.parameters(), lr=training.ALPHA,
        betas=(training.BETA1, training.BETA2), eps=training.EPS)
    loss_function = torch.nn.L1Loss()

    def run(size):
        audio, frames, traits = map(torch.from_numpy, batch(int(size)))
        optimizer.zero_grad()
        loss_function(model(audio, frames), traits).backward()
        optimizer.step()
    return run


# --- prediction --------------------------------------------------------------

def predictor(kind, weights, threads):
    """What has ``predict`` and ``extract_features`` as an engine has them.

    Args:
        kind (str): one of :data:`PREDICTING`.
        weights: an npz file.
        threads (int): of onnxruntime; the others take all cores they have.

    Raises:
        ImpressionError: it is not installed or does not run here.
    """
    model = _model(weights, kind)
    if kind == TORCH:
        from benchmarks.torch_network import (
            AudiovisualNetwork, TorchPredictor)
        return TorchPredictor(
            AudiovisualNetwork(weights), model.aud.geometry())
    if kind == ONNXRUNTIME:
        return OnnxruntimePredictor(model, threads)
    return make_engine(model, {
        STOCK: 'chainer', OURS: 'chainer', OPENVINO: 'openvino',
        BFLOAT16: 'openvino-bf16'}[kind])


class OnnxruntimePredictor:
    """The graphs of both streams in onnxruntime, for features only."""

    def __init__(self, model, threads):
        graph = extra.require('graph')
        try:
            import onnxruntime
        except ImportError as error:
            raise Missing(
                'onnxruntime cannot be imported here ({}), so it is not '
                'compared with; "pip install onnxruntime" installs it'.format(
                    error)) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._run = {}
        for part in ('auditory', 'visual'):
            session = onnxruntime.InferenceSession(
                graph.PARTS[part](model).SerializeToString(), options,
                providers=['CPUExecutionProvider'])
            self._run[part] = lambda x, session=session, name=(
                session.get_inputs()[0].name): session.run(
                    None, {name: numpy.ascontiguousarray(x)})[0]
        self._geometry = model.aud.geometry()
        self._kernel = model.vis.conv1_relu.conv.ksize

    def extract_features(self, audio, frames):
        """See ``AudiovisualStream.extract_features``."""
        return numpy.concatenate((
            pool_audio(audio, self._run['auditory'], **self._geometry),
            pool_frames(frames, self._run['visual'], self._kernel, 16)))


def visual_stream(kind, weights, threads, frames):
    """What takes frames through the visual stream.

    Args:
        kind (str): one of :data:`PREDICTING`.
        weights: an npz file.
        threads (int): see :func:`predictor`.
        frames: a npy file, uint8 (n, 3, height, width).

    Returns:
        a function of a number of frames that returns the pooled features.
    """
    engine = predictor(kind, weights, threads)
    frames = numpy.load(frames)
    # The ear gets an instant, which takes no time worth mentioning.
    audio = numpy.zeros(1024, numpy.float32)

    def run(n):
        return engine.extract_features(audio, frames[:int(n)]).tolist()
    return run


def whole_clip(kind, weights, threads):
    """What predicts clips on disk, decoding and network together.

    Args:
        kind (str): one of :data:`PREDICTING`, without onnxruntime.
        weights: an npz file.
        threads (int): see :func:`predictor`.

    Returns:
        a function of the paths of clips and of what to do, ``'all'``,
        ``'decode'`` or ``'network'``, that returns the traits of each. For
        ``'network'`` the decoded clips are kept from one call to the next.
    """
    engine = predictor(kind, weights, threads)
    decoded = {}

    def run(paths, what='all'):
        if what == 'network':
            for path in paths:
                if path not in decoded:
                    audio, frames = open_file(path)
                    decoded[path] = audio, list(frames)
            return [engine.predict(*decoded[path]).tolist()
                    for path in paths]
        traits = []
        for _, parts in read_clips(paths, open_file):
            if what == 'decode':
                for _ in parts:
                    pass
            else:
                traits.append(engine.predict(next(parts), parts).tolist())
        return traits
    return run


# --- the paper's timing ------------------------------------------------------

def on_device(device, weights, cache, batch_size):
    """What trains and predicts on a device, as the experiments do.

    Args:
        device (str): as Chainer names devices.
        weights: an npz file.
        cache: a folder of cached clips.
        batch_size (int): examples in a mini-batch.

    Returns:
        a function: ``run('train', n)`` does n steps, loading included;
        ``run('clip', path)`` predicts a clip on disk.
    """
    from benchmarks.examples import training_examples
    from chainer_impression import command_line
    device = command_line.open_device(device)
    model = _model(weights, OURS)
    model.to_device(device)
    engine = make_engine(model, 'auto')
    updater = chainer.training.updaters.StandardUpdater(
        training.examples_iterator(
            training_examples(cache), batch_size, seed=0, n_threads=2),
        training.make_optimizer(model), device=device,
        loss_func=training.mean_absolute_error(model))
    atexit.register(updater.finalize)  # its loading threads

    def run(what, argument):
        if what == 'train':
            for _ in range(argument):
                updater.update()
        else:
            for _, parts in read_clips([argument], open_file):
                engine.predict(next(parts), parts)
        _synchronize(device)
        return {'engine': type(engine).__name__}
    return run


def _synchronize(device):
    """Wait until a GPU has done what it was asked to."""
    if device.xp is not numpy:
        device.use()
        device.xp.cuda.Stream.null.synchronize()
        device.xp.cuda.runtime.deviceSynchronize()
