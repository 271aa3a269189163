"""The network in OpenVINO, on the CPU: the reference's results, sooner.

Of the two runtimes that were measured, OpenVINO and onnxruntime, it took less
processor time for small chunks of frames and less memory, and it alone has
bfloat16 on a CPU.

Needs the packages ``openvino`` and ``onnx``, which ``pip install '.[cpu]'``
brings.
"""

import numpy
import openvino

from chainer_impression.engines import graph
from chainer_impression.errors import ImpressionError
from chainer_impression.whole_clip import pool_audio, pool_frames

#: Frames that go through the network at once. Fewer leave the processor
#: waiting; more take memory and are no faster.
CHUNK = 16

_PRECISIONS = {'float32': 'f32', 'bfloat16': 'bf16'}


class OpenVinoEngine:
    """What predicts in place of a trained network.

    It keeps the weights that the network had when it was made. It can be
    pickled, which carries the graphs over, and is for one thread at a time;
    a process that was forked needs an engine of its own.

    Args:
        model (AudiovisualStream): a trained network.
        precision (str): ``'float32'``, or ``'bfloat16'``, which is an
            approximation and needs a processor that computes with it.

    Raises:
        ImpressionError: the processor does not compute in this precision.
    """

    def __init__(self, model, precision='float32'):
        self._precision = _PRECISIONS[precision]
        self._graphs = {
            part: graph.PARTS[part](model).SerializeToString()
            for part in ('auditory', 'visual', 'head')}
        self._audio_geometry = model.aud.geometry()
        self._visual_kernel = model.vis.conv1_relu.conv.ksize
        self._compile()

    def extract_features(self, audio, frames):
        """See :meth:`AudiovisualStream.extract_features`."""
        return numpy.concatenate((
            pool_audio(audio, self._run['auditory'], **self._audio_geometry),
            pool_frames(frames, self._run['visual'], self._visual_kernel,
                        CHUNK)))

    def predict(self, audio, frames):
        """See :meth:`AudiovisualStream.predict`."""
        return self._run['head'](self.extract_features(audio, frames)).copy()

    def _compile(self):
        core = openvino.Core()
        if self._precision == 'bf16' and 'BF16' not in core.get_property(
                'CPU', 'OPTIMIZATION_CAPABILITIES'):
            raise ImpressionError(
                'this processor does not compute in bfloat16; the engine '
                'openvino, in single precision, works here')
        self._run = {
            part: _runner(core.compile_model(
                core.read_model(proto, b''), 'CPU', {
                    'PERFORMANCE_HINT': 'LATENCY',
                    # Said even of single precision: some processors would be
                    # given less unasked. The head costs nothing either way.
                    'INFERENCE_PRECISION_HINT':
                        'f32' if part == 'head' else self._precision}))
            for part, proto in self._graphs.items()}

    def __getstate__(self):
        return {name: value for name, value in vars(self).items()
                if name != '_run'}

    def __setstate__(self, state):
        vars(self).update(state)
        self._compile()


def _runner(compiled):
    """A function of one array that gives one array."""
    request = compiled.create_infer_request()

    def run(array):
        # The array that comes back is the request's own, until the next run.
        array = numpy.ascontiguousarray(array)
        return request.infer([array], share_inputs=True,
                             share_outputs=True)[0]
    return run
