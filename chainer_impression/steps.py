"""Steps that lead to a result, each done once for the inputs that it has.

What a step was done with, and what came of it, is written down as digests of
command, inputs and outputs. A step whose record still holds is skipped; one
that was interrupted goes on where it was, as the project's commands do; one
whose command, inputs or outputs have changed is begun anew, and what it had
made before is moved aside, not deleted.
"""

import contextlib
import json
import os
import time
from typing import NamedTuple

from chainer_impression import run_folder
from chainer_impression.digests import Digests
from chainer_impression.errors import ImpressionError
from chainer_impression.files import make_folder, replace_when_done
from chainer_impression.subcommands import run_command

_RECORDS = 'steps.json'
_DIGESTS = 'digests.json'
_SUPERSEDED = 'superseded'


class Step(NamedTuple):
    """One command, and what it makes of what."""

    name: str            # short and unique
    title: str           # what a person calls it
    command: tuple       # arguments of Python that the result depends on
    folder: str          # its own: where its results lie
    inputs: tuple = ()   # files and folders that it reads
    outputs: tuple = ()  # files and folders that it makes, in its folder
    extra: tuple = ()    # arguments that change no result, such as a device
    prints: str = None   # the output that takes what the command prints


class Steps:
    """The steps of one folder. A context manager: one process at a time.

    Args:
        out: the folder, new, empty, or one of steps.
        root: the folder that the project's packages are in.
        environment (dict): what is kept with each step that is done now.

    Attributes:
        records (dict): name of a step to its record: ``seconds`` that it
            took, ``environment``, and the digests.

    Raises:
        ImpressionError: the folder cannot be written, holds something else,
            or another process is at work in it.
    """

    def __init__(self, out, root, environment):
        self._out, self._root = os.fspath(out), os.fspath(root)
        self._environment = environment
        self._path = os.path.join(self._out, _RECORDS)

    def __enter__(self):
        make_folder(self._out)
        with contextlib.ExitStack() as stack:
            stack.enter_context(run_folder.locked(self._out))
            self.records = self._read()
            self._digests = Digests(os.path.join(self._out, _DIGESTS))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception):
        self._stack.close()

    def run(self, steps):
        """Do what is left to do of some steps, in their order.

        Args:
            steps (list of Step): each after those whose outputs it reads.

        Raises:
            ImpressionError: a command failed, or did not make what it should.
        """
        for i, step in enumerate(steps):
            done = self._is_done(step)
            print('\n[{}/{}] {}{}'.format(
                i + 1, len(steps), step.title,
                ': is there, and matches its inputs' if done else ''),
                flush=True)
            if not done:
                self._do(step)

    def _is_done(self, step):
        record = self.records.get(step.name, {})
        return 'outputs' in record and record == {
            **record, **self._given(step), 'outputs': self._made(step)}

    def _do(self, step):
        given = self._given(step)
        missing = [path for path, digest in zip(step.inputs, given['inputs'])
                   if digest is None]
        if missing:
            raise ImpressionError('{}: is not there; {} needs it'.format(
                missing[0], step.title))
        record = self.records.get(step.name)
        if record is not None and ('outputs' in record or any(
                record.get(key) != value for key, value in given.items())):
            self._move_aside(step)
        # Begun, and with what: if it is interrupted, it may go on.
        self._write(step.name, given)
        make_folder(step.folder)
        start = time.monotonic()
        status = run_command((*step.command, *step.extra), self._root,
                             step.prints)
        seconds = time.monotonic() - start
        if status:
            raise ImpressionError(
                '"{}" ended with status {}; what it said is above: mend that '
                'and run this again, it goes on from there'.format(
                    step.title, status))
        made = self._made(step)
        for path, digest in made.items():
            if digest is None:
                raise ImpressionError('"{}" did not make {}'.format(
                    step.title, os.path.join(step.folder, path)))
        self._write(step.name, {
            **given, 'outputs': made, 'seconds': seconds,
            'environment': self._environment})

    def _given(self, step):
        return {'command': self._portable(step),
                'inputs': [self._digests.of(path) for path in step.inputs]}

    def _made(self, step):
        return {os.path.relpath(path, step.folder): self._digests.of(path)
                for path in step.outputs}

    def _portable(self, step):
        """The command, the same wherever results and data are kept."""
        command = []
        for argument in step.command:
            if argument in step.inputs:
                argument = 'input {}'.format(step.inputs.index(argument))
            elif argument == self._out or argument.startswith(
                    os.path.join(self._out, '')):
                argument = os.path.join(
                    'OUT', os.path.relpath(argument, self._out))
            elif argument.endswith('.py'):
                argument = os.path.relpath(argument, self._root)
            command.append(argument)
        return command

    def _move_aside(self, step):
        if not os.path.exists(step.folder):
            return
        make_folder(os.path.join(self._out, _SUPERSEDED))
        number = 1
        while os.path.exists(place := os.path.join(
                self._out, _SUPERSEDED, '{}-{}'.format(step.name, number))):
            number += 1
        os.rename(step.folder, place)
        print('its command, inputs or outputs have changed, so it is begun '
              'anew; what was there is now {}'.format(place), flush=True)

    def _read(self):
        if not os.path.exists(self._path):
            if run_folder.holds_something(self._out):
                raise ImpressionError(
                    '{}: is not empty and holds no steps; choose another '
                    '--out'.format(self._out))
            records = {}
            self._save(records)
            return records
        try:
            with open(self._path, encoding='utf-8') as file:
                return {name: dict(record)
                        for name, record in json.load(file).items()}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise ImpressionError('{}: cannot be read ({}); choose another '
                                  '--out'.format(self._path, error)) from error

    def _write(self, name, record):
        self.records[name] = record
        self._save(self.records)
        self._digests.save()

    def _save(self, records):
        with replace_when_done(self._path, encoding='utf-8') as file:
            json.dump(records, file, indent=1)
