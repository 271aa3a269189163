"""What can predict with a trained network: Chainer, or a faster runtime.

An engine has the methods ``predict`` and ``extract_features`` of
:class:`~chainer_impression.links.audiovisual_stream.AudiovisualStream`, with
the same arguments, results and errors. The network itself is the reference.
"""

import warnings

import numpy

from chainer_impression.engines import extra
from chainer_impression.errors import ImpressionError

#: Engines by name, and what each one is.
ENGINES = {
    'auto': 'openvino on the CPU where it is installed, else chainer',
    'chainer': 'the network as it is, on any device: the reference',
    'openvino': 'the same within 0.0001, on the CPU only, about 3 times as fast',
    'openvino-bf16': (
        'openvino in bfloat16, about twice as fast again, for processors that '
        'compute in it; traits differ by up to 0.01 (measured)'),
}


def make_engine(model, name='auto'):
    """What predicts with a trained network.

    Args:
        model (AudiovisualStream): the network, on the device where it is to
            run. It must not be trained on while the engine is in use.
        name (str): one of :data:`ENGINES`.

    Returns:
        an object with ``predict`` and ``extract_features``; for ``'chainer'``
        and on a GPU the model itself.

    Raises:
        ImpressionError: the engine is unknown, is not installed, or does not
            run on this processor or on the model's device.
    """
    if name not in ENGINES:
        raise ImpressionError('there is no engine {!r}, only {}'.format(
            name, ', '.join(ENGINES)))
    on_cpu = model.xp is numpy
    if name == 'chainer' or name == 'auto' and not on_cpu:
        return model
    if not on_cpu:
        raise ImpressionError(
            'the engine {} runs on the CPU only, and the network is on {}'
            .format(name, model.device))
    try:
        module = extra.require('openvino_engine')
    except ImpressionError as error:
        if name != 'auto':
            raise
        warnings.warn('predictions on a CPU can be about 3 times as fast: {}'
                      .format(error))
        return model
    return module.OpenVinoEngine(
        model, 'bfloat16' if name == 'openvino-bf16' else 'float32')
