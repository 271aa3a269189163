"""Progress of training: a bar with the time left, a line for each epoch."""

from chainer.training import extension

from chainer_impression.command_line import Progress


class ShowProgress(extension.Extension):
    """A progress bar over all iterations, and the log's entries as they come.

    Where standard error is no terminal, both are plain lines. Reports
    nothing; reads the log of the extension ``LogReport``.

    Args:
        n_iterations (int): iterations of the whole training.
        entries (tuple): (key of the log, how it is shown) pairs.
        interval (float): seconds between two plain lines of progress.
    """

    trigger = 1, 'iteration'
    default_name = 'ShowProgress'
    # After LogReport, which has the default, 100.
    priority = 50

    def __init__(self, n_iterations, entries, interval=60):
        self._n_iterations = n_iterations
        self._entries = entries
        self._interval = interval
        self._n_shown = None
        self._progress = None

    def initialize(self, trainer):
        log = trainer.get_extension('LogReport').log
        self._n_shown = len(log)
        self._progress = Progress(
            self._n_iterations, 'iterations', 'training',
            interval=self._interval, done=trainer.updater.iteration)

    def __call__(self, trainer):
        log = trainer.get_extension('LogReport').log
        for entry in log[self._n_shown:]:
            self._progress.say('  '.join(
                form.format(entry[key]) for key, form in self._entries
                if key in entry))
        self._n_shown = len(log)
        self._progress.advance()

    def finalize(self):
        if self._progress is not None:
            self._progress.close()
