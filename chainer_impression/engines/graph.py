"""The network as an ONNX graph, for runtimes that know nothing of Chainer.

The graph is built node by node from a trained
:class:`~chainer_impression.links.audiovisual_stream.AudiovisualStream`.
Batch normalisation, which at test time only scales and shifts, is folded into
the convolution before it; pictures come in as uint8 and sound as it was
decoded, so that a program around the graph has nothing to prepare.

Needs the package ``onnx``, which ``pip install '.[cpu]'`` brings.
"""

import json

import numpy
import onnx
from chainer.backends import cuda
from onnx import TensorProto, helper, numpy_helper

from chainer_impression.links.auditory_stream import unfold as unfold_audio
from chainer_impression.links.residual_stream import N_FEATURES
from chainer_impression.links.visual_stream import N_COLOURS
from chainer_impression.media import FRAME_RATE, SAMPLE_RATE
from chainer_impression.traits import NEUROTICISM_NOTE, TRAITS

#: Of 2022: old enough for every runtime that is still around.
OPSET, IR_VERSION = 17, 8

#: Frames that a whole-clip graph takes through the network at a time. Memory
#: then grows with the clip's pixels only, and small chunks stay in the caches.
CHUNK = 8


def whole_clip(model):
    """The graph of :meth:`AudiovisualStream.predict`: a clip to its traits.

    ``audio``, float32 (n_samples,), and ``frames``, uint8 (n_frames, 3,
    height, width), give ``traits``, float32 (n_traits,), and ``features``, the
    paper's layer 5, float32 (512,). Any length and any size from that of the
    first kernels up. The sound goes through in one piece (P 2.3), the frames
    in chunks of :data:`CHUNK`, in a loop that is part of the graph.

    Args:
        model (AudiovisualStream): a trained network, on any device.

    Returns:
        onnx.ModelProto: checked.
    """
    graph = _Graph()
    maps = _auditory_maps(graph, model.aud, 'audio')
    auditory = graph.add('ReduceMean', [maps], axes=[0, 2], keepdims=0)
    visual = _average_over_frames(graph, model.vis, 'frames')
    graph.add('Concat', [auditory, visual], name='features', axis=0)
    _traits(graph, model.fc, 'features')
    return graph.model(
        [_audio(), _frames('n_frames')],
        [_traits_output(model.fc), _value('features', [2 * N_FEATURES], (
            'pooled features, the paper\'s layer 5: 256 auditory, then 256 '
            'visual, averaged over the clip'))])


def auditory_stream(model):
    """The graph of the ear: ``audio`` to ``maps``.

    Args:
        model (AudiovisualStream): a trained network, on any device.

    Returns:
        onnx.ModelProto: float32 (n_samples,) to float32 (256, n_columns),
        checked.
    """
    graph = _Graph()
    maps = _auditory_maps(graph, model.aud, 'audio')
    graph.add('Squeeze', [maps, graph.constant([0])], name='maps')
    return graph.model([_audio()], [_value(
        'maps', [N_FEATURES, 'n_columns'],
        'the last feature map, a column for each 1,024 samples; the mean over '
        'its columns is the auditory half of the features')])


def visual_stream(model):
    """The graph of the eye: ``frames`` to the ``features`` of each.

    Args:
        model (AudiovisualStream): a trained network, on any device.

    Returns:
        onnx.ModelProto: uint8 (n, 3, height, width) to float32 (n, 256),
        checked.
    """
    graph = _Graph()
    _visual_features(graph, model.vis, 'frames', name='features')
    return graph.model([_frames('n')], [_value(
        'features', ['n', N_FEATURES],
        'pooled features of each frame; their mean over all frames of a clip '
        'is the visual half of the features')])


def head(model):
    """The graph behind the streams: ``features`` to ``traits``.

    Args:
        model (AudiovisualStream): a trained network, on any device.

    Returns:
        onnx.ModelProto: float32 (512,) to float32 (n_traits,), checked.
    """
    graph = _Graph()
    _traits(graph, model.fc, 'features')
    return graph.model(
        [_value('features', [2 * N_FEATURES],
                '256 auditory, then 256 visual, averaged over the clip')],
        [_traits_output(model.fc)])


#: What can be had as a graph of its own.
PARTS = {'whole': whole_clip, 'auditory': auditory_stream,
         'visual': visual_stream, 'head': head}


def fold(convolution, normalization):
    """A convolution and the batch normalisation behind it, as one.

    Args:
        convolution (chainer.links.Convolution2D): a convolution with biases.
        normalization (chainer.links.BatchNormalization): with the running
            statistics of the training.

    Returns:
        tuple of numpy.ndarray: float32 kernels and biases, computed in double
        precision.
    """
    w, b, gamma, beta, mean, variance = (
        cuda.to_cpu(array).astype(numpy.float64) for array in (
            convolution.W.array, convolution.b.array,
            normalization.gamma.array, normalization.beta.array,
            normalization.avg_mean, normalization.avg_var))
    scale = gamma / numpy.sqrt(variance + normalization.eps)
    return ((w * scale[:, None, None, None]).astype(numpy.float32),
            ((b - mean) * scale + beta).astype(numpy.float32))


class _Graph:
    """Nodes and constants in the making, each under a name of its own.

    Args:
        prefix (str): comes before the names of a graph inside a graph.
    """

    def __init__(self, prefix=''):
        self.nodes, self.constants, self._prefix = [], [], prefix

    def add(self, operator, inputs, name=None, **attributes):
        """Append a node and return the name of what it gives."""
        name = name or '{}{}_{}'.format(
            self._prefix, operator.lower(), len(self.nodes))
        self.nodes.append(helper.make_node(
            operator, inputs, [name], name=name, **attributes))
        return name

    def constant(self, value, dtype=numpy.int64):
        """Put an array into the graph and return its name."""
        name = '{}constant_{}'.format(self._prefix, len(self.constants))
        self.constants.append(numpy_helper.from_array(
            numpy.asarray(value, dtype), name))
        return name

    def proto(self, name, inputs, outputs):
        return helper.make_graph(
            self.nodes, name, inputs, outputs, self.constants)

    def model(self, inputs, outputs):
        """Wrap it all up as a model that says what it is.

        Returns:
            onnx.ModelProto: checked, shapes included.
        """
        model = helper.make_model(
            self.proto('deep_impression', inputs, outputs),
            opset_imports=[helper.make_opsetid('', OPSET)],
            ir_version=IR_VERSION, producer_name='chainer-impression',
            doc_string='Audiovisual deep residual network for apparent '
                       'personality traits (arXiv 1609.05119)')
        helper.set_model_props(model, _metadata(inputs, outputs))
        onnx.checker.check_model(model, full_check=True)
        return model


def _auditory_maps(graph, stream, audio):
    """(n_samples,) -> (1, 256, n_columns), in one dimension."""
    x = graph.add('Unsqueeze', [audio, graph.constant([0, 1])])
    return _feature_maps(graph, stream, x, slice(1, None))


def _visual_features(graph, stream, frames, name=None):
    """(n, 3, height, width) -> (n, 256)."""
    x = graph.add('Cast', [frames], to=TensorProto.FLOAT)
    x = _feature_maps(graph, stream, x, slice(None))
    return graph.add('ReduceMean', [x], name=name, axes=[2, 3], keepdims=0)


def _feature_maps(graph, stream, x, dimensions):
    """What ``ResidualStream.feature_maps`` does.

    Args:
        graph (_Graph): is appended to.
        stream (ResidualStream): whose weights.
        x (str): the input.
        dimensions (slice): which of (height, width) there are.
    """
    first, *blocks = stream.blocks()
    x = graph.add('Relu', [_convolve(
        graph, x, first.conv, first.bn_conv, dimensions)])
    x = _max_pooling(graph, x, dimensions, **first.pooling)
    for block in blocks:
        h = graph.add('Relu', [_convolve(
            graph, x, block.res_branch2a, block.bn_branch2a, dimensions)])
        h = _convolve(
            graph, h, block.res_branch2b, block.bn_branch2b, dimensions)
        if hasattr(block, 'res_branch1'):
            x = _convolve(
                graph, x, block.res_branch1, block.bn_branch1, dimensions)
        x = graph.add('Relu', [graph.add('Add', [h, x])])
    return x


def _convolve(graph, x, convolution, normalization, dimensions):
    w, b = fold(convolution, normalization)
    shape = w.shape[2:][dimensions]
    pad = _pair(convolution.pad)[dimensions]
    return graph.add(
        'Conv',
        [x, graph.constant(w.reshape(w.shape[:2] + shape), numpy.float32),
         graph.constant(b, numpy.float32)],
        kernel_shape=shape, strides=_pair(convolution.stride)[dimensions],
        pads=pad + pad)


def _max_pooling(graph, x, dimensions, ksize, stride, pad):
    """Chainer's, with ``cover_all=True``, for every size of the input.

    cover_all counts (size + 2 pad - k + stride - 1) // stride + 1 windows,
    which is what stride - 1 more of padding at the end gives without it. The
    attribute ceil_mode, made for the same end, means different things to
    different runtimes.
    """
    end = tuple(p + s - 1 for p, s in zip(pad, stride))
    return graph.add(
        'MaxPool', [x], kernel_shape=ksize[dimensions],
        strides=stride[dimensions], pads=pad[dimensions] + end[dimensions])


def _pair(value):
    return value if isinstance(value, tuple) else (value, value)


def _average_over_frames(graph, stream, frames):
    """(n_frames, 3, height, width) -> (256,), in chunks of frames."""
    body = _Graph('loop_')
    start = body.add('Mul', ['loop_i', body.constant([CHUNK])])
    chunk = body.add('Slice', [
        frames, start, body.add('Add', [start, body.constant([CHUNK])]),
        body.constant([0])])
    features = _visual_features(body, stream, chunk)
    body.add('ReduceSum', [features, body.constant([0])], name='loop_sum',
             keepdims=0)
    body.add('Identity', ['loop_go'], name='loop_go_on')

    n_frames = graph.add('Shape', [frames], start=0, end=1)
    n_chunks = graph.add('Div', [
        graph.add('Add', [n_frames, graph.constant([CHUNK - 1])]),
        graph.constant([CHUNK])])
    sums = graph.add(
        'Loop', [graph.add('Squeeze', [n_chunks, graph.constant([0])]), ''],
        body=body.proto(
            'chunk_of_frames',
            [helper.make_tensor_value_info('loop_i', TensorProto.INT64, []),
             helper.make_tensor_value_info('loop_go', TensorProto.BOOL, [])],
            [helper.make_tensor_value_info('loop_go_on', TensorProto.BOOL, []),
             _value('loop_sum', [N_FEATURES])]))
    return graph.add('Div', [
        graph.add('ReduceSum', [sums, graph.constant([0])], keepdims=0),
        graph.add('Cast', [n_frames], to=TensorProto.FLOAT)])


def _traits(graph, linear, features):
    """(512,) -> (n_traits,): linear, tanh, scaled to [0, 1]."""
    w = cuda.to_cpu(linear.W.array)
    b = cuda.to_cpu(linear.b.array)
    h = graph.add('MatMul', [graph.constant(w, numpy.float32), features])
    h = graph.add('Add', [h, graph.constant(b, numpy.float32)])
    h = graph.add('Add', [graph.add('Tanh', [h]),
                          graph.constant(1, numpy.float32)])
    graph.add('Mul', [h, graph.constant(0.5, numpy.float32)], name='traits')


def _value(name, shape, note='', dtype=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape, note)


def _audio():
    return _value('audio', ['n_samples'], (
        'sound, mono, {:,} Hz, in [-1, 1]; at least {} samples'.format(
            SAMPLE_RATE, unfold_audio(7)[1])))


def _frames(n):
    return _value('frames', [n, N_COLOURS, 'height', 'width'], (
        'pictures, RGB, 0 to 255, {} per second; trained on 456 x 256 pixels '
        '(width x height)'.format(FRAME_RATE)), TensorProto.UINT8)


def _traits_output(linear):
    n_traits = len(linear.b.array)
    note = 'in [0, 1]'
    if n_traits == len(TRAITS):
        note += ': {}; {}'.format(', '.join(TRAITS), NEUROTICISM_NOTE)
    return _value('traits', [n_traits], note)


def _metadata(inputs, outputs):
    """What a model says about itself: strings by name."""
    described = {
        'source': 'arXiv 1609.05119',
        'sample_rate': str(SAMPLE_RATE),
        'frame_rate': str(FRAME_RATE),
    }
    traits = [value for value in outputs if value.name == 'traits']
    if traits and _shape(traits[0]) == str(len(TRAITS)):
        described['trait_order'] = json.dumps(TRAITS)
        described['neuroticism'] = NEUROTICISM_NOTE
    for value in [*inputs, *outputs]:
        dtype = helper.tensor_dtype_to_np_dtype(
            value.type.tensor_type.elem_type)
        described[value.name] = '{} ({}): {}'.format(
            dtype, _shape(value), value.doc_string)
    return described


def _shape(value):
    return ', '.join(d.dim_param or str(d.dim_value)
                     for d in value.type.tensor_type.shape.dim)


def metadata(model):
    """What a model says about itself.

    Args:
        model (onnx.ModelProto): one of this module's.

    Returns:
        dict: strings by name: ``sample_rate``, ``frame_rate``, and for each
        input and output its dtype, shape and meaning; where there are traits,
        also ``trait_order``, in JSON, and ``neuroticism``.
    """
    return {entry.key: entry.value for entry in model.metadata_props}
