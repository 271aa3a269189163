"""Audiovisual deep residual networks for apparent personality, in Chainer.

Importing this package makes Chainer 7.8.1 importable on today's Python.
"""

from chainer_impression import compat

compat.make_chainer_importable()

from chainer_impression.links.audiovisual_stream import (  # NOQA: E402
    AudiovisualStream)
from chainer_impression.links.auditory_stream import (  # NOQA: E402
    AuditoryStream)
from chainer_impression.links.visual_stream import VisualStream  # NOQA: E402

__version__ = '1.0.0'
__all__ = ['AudiovisualStream', 'AuditoryStream', 'VisualStream']
