"""The packages of ``pip install '.[cpu]'``, which an installation may lack."""

import importlib

from chainer_impression.errors import ImpressionError


def require(module):
    """Import a module that needs the extra.

    Args:
        module (str): a module of the extra, or one that imports such.

    Returns:
        the module.

    Raises:
        ImpressionError: the extra is not installed, or does not work here.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = getattr(error, 'name', None) or module
        raise ImpressionError(
            'this needs the package {}, which cannot be imported here ({}); '
            "pip install '.[cpu]' installs it".format(
                missing.split('.')[0],
                ' '.join(str(error).split()))) from error
