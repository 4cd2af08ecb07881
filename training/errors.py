"""Errors that end a training early, with the exit status of the process.

TrainingError
├── Refused        2   the command, the specification or a row is at fault
│   └── FolderTaken    2   the output folder holds another training
├── BaseUnusable   3   the language model to start from does not load
├── FolderInUse    4   another process is training in the output folder
└── Stopped       75   a signal has stopped the training; running it again resumes it
"""


class TrainingError(Exception):
    """A training ended early; the text gives the reason and the remedy."""

    exit_code = 1


class Refused(TrainingError):
    """The command cannot do what the user asks; the text names the field or the line, and the remedy."""

    exit_code = 2


class FolderTaken(Refused):
    """The output folder belongs to a training by another specification."""


class BaseUnusable(TrainingError):
    """The language model to start from does not load."""

    exit_code = 3


class FolderInUse(TrainingError):
    """Another process is training in this folder."""

    exit_code = 4


class Stopped(TrainingError):
    """A signal has stopped the training. Checkpoints stay, and the same command resumes from them."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: try again
