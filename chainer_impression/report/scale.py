"""What was scaled down from the paper's experiment, in words."""

from chainer_impression import training
from chainer_impression.evaluations.paper_results import N_CLIPS

#: A setting of a run: (the paper's value, how it is put into words).
_CHALLENGE = {
    'epoch': (training.N_EPOCHS, '{} epochs instead of {}'),
    'stage-length': (training.STAGE_LENGTH,
                     'alpha divided after every {} of them instead of {}'),
    'batchsize': (training.BATCH_SIZE, 'mini-batches of {} instead of {}'),
    'alpha': (training.ALPHA, 'alpha of {} instead of {}'),
    'weight-decay': (0, 'weight decay of {} instead of {}'),
}
_TRAITS = {
    'epoch': (training.N_EPOCHS, 'the networks for one trait trained up to '
                                 'epoch {} instead of {}'),
}


def differences(demo, n_clips, challenge, traits):
    """What differs from the paper's experiment.

    Args:
        demo (bool): whether the clips are drawn ones.
        n_clips (dict): a key of ``N_CLIPS`` to the number of clips.
        challenge (dict): settings of the challenge model's run.
        traits (dict): settings of the run of the networks for one trait.

    Returns:
        list of str: empty if it was the paper's experiment.
    """
    found = ['drawn people instead of the clips of the challenge'] \
        if demo else []
    found += [
        '{:,} {} clips instead of {:,}'.format(n, split, N_CLIPS[split])
        for split, n in n_clips.items() if n != N_CLIPS[split]]
    for settings, expected in ((challenge, _CHALLENGE), (traits, _TRAITS)):
        found += [words.format(settings[name], paper)
                  for name, (paper, words) in expected.items()
                  if settings.get(name, paper) != paper]
    return found


def sentence(found):
    """The sentence that a reader must not miss.

    Args:
        found (list of str): see :func:`differences`.

    Returns:
        str
    """
    if not found:
        return ('Nothing was scaled down: the paper’s schedule, on as many '
                'clips as it had.')
    listed = ', '.join(found[:-1]) + (' and ' if len(found) > 1 else '') \
        + found[-1]
    return ('This is not the paper’s experiment but a scaled-down one: {}. '
            'The paper’s numbers stand beside ours for the layout, not for '
            'comparison.'.format(listed))
