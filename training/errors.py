"""What can end a training early, with the status that the process ends with.

TrainingError
├── Refused        2   the command, the specification or a row cannot be used as it is
│   └── FolderTaken    2   the output folder holds another training
├── BaseUnusable   3   the language model to start from cannot be loaded
├── FolderInUse    4   another process is training in the output folder
└── Stopped       75   told to stop; started again, the training goes on
"""


class TrainingError(Exception):
    """A training ended early; the text says why and what to do."""

    exit_code = 1


class Refused(TrainingError):
    """What was asked for cannot be done: the text names the field or the line, and what to change."""

    exit_code = 2


class FolderTaken(Refused):
    """The output folder belongs to a training by another specification."""


class BaseUnusable(TrainingError):
    """The language model to start from cannot be loaded."""

    exit_code = 3


class FolderInUse(TrainingError):
    """Another process is training in this folder."""

    exit_code = 4


class Stopped(TrainingError):
    """Told to stop by a signal. What was saved stays, and the same command goes on from there."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: try again
