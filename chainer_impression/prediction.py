"""Predictions for many clips, decoding and network at the same time."""

from chainer_impression.command_line import Progress
from chainer_impression.read_ahead import read_clips


def predict_clips(engine, clips, description='predicting'):
    """Predict the traits of whole clips.

    Args:
        engine: what has ``predict(audio, frames)``, such as the network or
            what :func:`chainer_impression.engines.make_engine` gives.
        clips (WholeClips): the clips.
        description (str): what the progress bar says.

    Returns:
        dict: clip name to float32 (n_traits,), in the order of the clips.
    """
    predictions = {}
    with Progress(len(clips), 'clips', description) as progress:
        for name, parts in read_clips(clips.names, clips.open_clip):
            predictions[name] = engine.predict(next(parts), parts)
            progress.advance()
    return predictions
