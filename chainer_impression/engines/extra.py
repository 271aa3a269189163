"""The packages of ``pip install '.[cpu]'``, which an installation may lack."""

import importlib

from chainer_impression.errors import ImpressionError


def require(module):
    """Import a module of this room that needs the extra.

    Args:
        module (str): its name within :mod:`chainer_impression.engines`.

    Returns:
        the module.

    Raises:
        ImpressionError: the extra is not installed, or does not work here.
    """
    try:
        return importlib.import_module('chainer_impression.engines.' + module)
    except ImportError as error:
        missing = (error.name or 'openvino').split('.')[0]
        if missing == 'chainer_impression':
            raise
        raise ImpressionError(
            'this needs the package {}, which cannot be imported here ({}); '
            "pip install '.[cpu]' installs it".format(
                missing, ' '.join(str(error).split()))) from error
