"""Where a report finds the results, and how they are read."""

import base64
import json
from typing import NamedTuple

from chainer_impression.errors import ImpressionError

_TYPES = {'png': 'image/png', 'svg': 'image/svg+xml'}


class Sources(NamedTuple):
    """Paths of results; None for one that there is none of."""

    demo: bool       # whether the clips are drawn ones
    baselines: str   # what baselines.py --json prints
    table1: str      # JSON
    table2: str      # the same, or None: the test clips have no labels
    table3: str      # the same
    figure1: str     # SVG or PNG
    figure2: str     # the same
    timing: str      # JSON of benchmark.py
    logs: dict       # what is trained to the log of its training
    settings: dict   # what is trained to the settings of its run


def read_json(path):
    """Read a result.

    Raises:
        ImpressionError: it cannot be read.
    """
    try:
        with open(path, encoding='utf-8') as file:
            return json.load(file)
    except (OSError, ValueError) as error:
        raise ImpressionError('{}: cannot be read ({})'.format(
            path, error)) from error


def read_picture(path):
    """A picture as an address that holds it.

    Returns:
        str: a ``data:`` URI.

    Raises:
        ImpressionError: it cannot be read.
    """
    try:
        with open(path, 'rb') as file:
            content = file.read()
    except OSError as error:
        raise ImpressionError('{}: cannot be read ({})'.format(
            path, error.strerror)) from error
    return as_address(content, path.rsplit('.', 1)[-1].lower())


def as_address(content, extension):
    """The bytes of a picture as a ``data:`` URI."""
    return 'data:{};base64,{}'.format(
        _TYPES[extension], base64.b64encode(content).decode('ascii'))
