"""Predictions for many clips, decoding and network at the same time."""

import os

from chainer_impression.command_line import Progress
from chainer_impression.datasets.labels import read_labels, write_csv
from chainer_impression.errors import ImpressionError
from chainer_impression.read_ahead import read_clips

#: Clips after which predictions that are kept in a file are written.
_KEEP_EVERY = 20


def predict_clips(engine, clips, description='predicting', path=None):
    """Predict the traits of whole clips.

    Args:
        engine: what has ``predict(audio, frames)``, such as the network or
            what :func:`chainer_impression.engines.make_engine` gives.
        clips (WholeClips): the clips.
        description (str): what the progress bar says.
        path: a file that keeps the predictions of the five traits as they
            come, in the challenge's format; clips that it has are not
            predicted again.

    Returns:
        dict: clip name to float (n_traits,), in the order of the clips.

    Raises:
        ImpressionError: a clip is too short for the network, or the file
            cannot be read or written.
    """
    kept = read_labels(path) if path and os.path.exists(path) else {}
    missing = [name for name in clips.names if name not in kept]
    with Progress(len(clips), 'clips', description,
                  done=len(clips) - len(missing)) as progress:
        for i, (name, parts) in enumerate(
                read_clips(missing, clips.open_clip), 1):
            try:
                kept[name] = engine.predict(next(parts), parts)
            except ValueError as error:
                raise ImpressionError('{}: {}'.format(name, error)) from error
            if path and (i % _KEEP_EVERY == 0 or i == len(missing)):
                write_csv(path, kept)
            progress.advance()
    return {name: kept[name] for name in clips.names}
