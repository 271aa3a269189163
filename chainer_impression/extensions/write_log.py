"""The log on disk, whole whatever happens while it is written."""

import json
import os

from chainer.training import extension

from chainer_impression.files import replace_when_done


class WriteLog(extension.Extension):
    """Writes the log of the extension ``LogReport`` as JSON.

    What ``LogReport`` writes by itself leaves a folder behind when the
    process is killed meanwhile, and is not flushed to the disk. A resumed run
    begins with the log of its snapshot. Reports nothing.

    Args:
        filename (str): the file, in the Trainer's folder.
    """

    trigger = 1, 'epoch'
    default_name = 'WriteLog'
    # After LogReport, which has the default, 100.
    priority = 90

    def __init__(self, filename='log.json'):
        self._filename = filename

    def initialize(self, trainer):
        if trainer.get_extension('LogReport').log:
            self(trainer)

    def __call__(self, trainer):
        path = os.path.join(trainer.out, self._filename)
        with replace_when_done(path, encoding='utf-8') as file:
            json.dump(trainer.get_extension('LogReport').log, file, indent=4)
