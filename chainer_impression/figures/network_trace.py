"""What a network does with an example, written down while it does it."""

from typing import NamedTuple

import chainer


class Operation(NamedTuple):
    """One function that a network applied; shapes without the batch."""

    path: str       # of the link that applied it, such as vis/conv1_relu/conv
    label: str      # Chainer's name of the function
    input: tuple    # shape of the first input
    output: tuple   # shape of the first output
    ksize: tuple    # of a convolution or a pooling: (height, width), else ()
    stride: tuple   # the same


def trace(model, *inputs):
    """Run an example through a network and write down what it does.

    Args:
        model (chainer.Link): the network.
        inputs: arrays that it is called with, a batch of one.

    Returns:
        list of Operation: in the order of their application.
    """
    at_work, functions = _LinksAtWork(model), []
    with chainer.using_config('train', False), at_work, \
            _Functions(at_work, functions):
        # As long as the result is there, so is the graph that led to it.
        result = model(*inputs)
    operations = [_operation(*item) for item in functions]
    del result
    return operations


class _LinksAtWork(chainer.LinkHook):
    """Knows the path of the innermost link that is being called."""

    name = 'LinksAtWork'

    def __init__(self, model):
        self._paths = {id(link): path.lstrip('/')
                       for path, link in model.namedlinks()}
        self._stack = []

    def forward_preprocess(self, args):
        self._stack.append(self._paths[id(args.link)])

    def forward_postprocess(self, args):
        self._stack.pop()

    def path(self):
        return self._stack[-1]


class _Functions(chainer.FunctionHook):
    """Keeps the functions that are applied, with the link that does it."""

    name = 'Functions'

    def __init__(self, at_work, functions):
        self._at_work, self._functions = at_work, functions

    def forward_postprocess(self, function, in_data):
        self._functions.append((
            self._at_work.path(), function, [x.shape for x in in_data]))


def _operation(path, function, in_shapes):
    ksize, stride = (), ()
    if hasattr(function, 'ksize'):  # a pooling
        ksize, stride = tuple(function.ksize), tuple(function.stride)
    elif hasattr(function, 'sy'):  # a convolution, whose weights come second
        ksize, stride = in_shapes[1][2:], (function.sy, function.sx)
    return Operation(path, function.label, in_shapes[0][1:],
                     function.outputs[0]().shape[1:], ksize, stride)
