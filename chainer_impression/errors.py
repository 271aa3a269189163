"""The one kind of error that a person at the keyboard can mend."""


class ImpressionError(Exception):
    """Input or surroundings that cannot be used.

    Its message is one sentence that names the file (or the setting) and says
    what to do about it. Commands print it and exit with status 1; it is never
    raised for a fault of the program itself, which keeps its traceback.
    """
