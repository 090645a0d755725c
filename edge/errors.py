"""Everything that can go wrong, as one tree, and the exit code that each branch ends a command with.

LinewatchError                     1
├── SettingsError                  3   a YAML file that does not say what it must
├── BundleError                    4   a bundle that is absent, corrupt or of another kind
│   ├── ContractError              4   a graph that does not keep the graph contract
│   └── CalibrationError           4   a bundle without real pictures to choose a precision on
├── SourceError                    5   a camera, recording or picture that cannot be read
│   ├── ProductNotFoundError       5   a picture without the product that a preparing step was to find
│   └── TargetError                5   a picture, or points, by which no camera can be calibrated
├── EngineError                    6   inference failed
│   ├── WrongAnswerError           6   a model that answered what no model of this contract may
│   └── EngineHangsError           6   an inference that did not end in time
├── DependencyError                7   a package or program that is not installed
├── StoreError                     8   the outbox or another file cannot be written (disk full, not ours, corrupt)
├── PublishError                   9   a message that the broker refused or that could not be handed over
├── DatasetError                  10   training data that cannot be used
├── ConversionError               11   a converted model that differs from its original by more than is allowed
├── CommandError                  13   no line runs that could be told, or it refused what it was told
├── JournalError                  14   a journal whose rows are not as they were written
└── DriftError                    16   a camera whose calibration does not hold any more

Exit code 0 is success, 2 a wrong command line, 130 an interrupted command. Each message says what happened, what
was expected, what was received, and what to do.
"""

from edge.printable import printable


class LinewatchError(Exception):
    """Base of all errors that a user of Linewatch may see; `exit_code` ends the command.

    Each argument is one line of the message. Text from outside, such as a path or a vendor's words, may be put into it
    as it is. It is made printable for people.
    """

    exit_code = 1

    def __str__(self) -> str:
        """Return the message."""
        return "\n".join(printable(line) for line in self.args)


class SettingsError(LinewatchError):
    """A settings file that is absent, is no YAML, or has a wrong key, type or value."""

    exit_code = 3


class BundleError(LinewatchError):
    """A bundle that is absent, incomplete, altered, or written for another version."""

    exit_code = 4


class ContractError(BundleError):
    """A model whose inputs, outputs or answers do not keep the graph contract."""


class CalibrationError(BundleError):
    """A bundle without real pictures, where the precision of a model is to be chosen or judged on them."""


class SourceError(LinewatchError):
    """A camera, a recording or a picture that cannot be opened or read."""

    exit_code = 5


class ProductNotFoundError(SourceError):
    """A preparing step was to find the product, and the picture does not show it.

    On a line the frame is NO_READ.
    """


class TargetError(SourceError):
    """A picture that does not show the calibration target as it must, or points that tell no scale."""


class EngineError(LinewatchError):
    """An inference backend that failed; the vendor's message is in the text."""

    exit_code = 6


class WrongAnswerError(EngineError):
    """A model's answer that does not keep the graph contract: its count, shape, dtype, classes or scores."""


class EngineHangsError(EngineError):
    """An inference, or an opening, that did not end in time.

    The thread that waits for it is left behind.
    """


class DependencyError(LinewatchError):
    """A package or program that this command needs and that is not installed."""

    exit_code = 7


class StoreError(LinewatchError):
    """The outbox or an output file could not be written or read."""

    exit_code = 8


class PublishError(LinewatchError):
    """A message that could not be handed to the broker's client, or that the broker refused."""

    exit_code = 9


class DatasetError(LinewatchError):
    """Training or evaluation data that cannot be used as it is."""

    exit_code = 10


class ConversionError(LinewatchError):
    """A converted model that loses or invents defects beyond the limit."""

    exit_code = 11


class CommandError(LinewatchError):
    """A command of the shell for which no line runs, that the line refused, or that it did not answer."""

    exit_code = 13


class JournalError(LinewatchError):
    """A journal in which a row was altered, taken out or put in."""

    exit_code = 14


class DriftError(LinewatchError):
    """A calibration by which the target's lengths come out wrong, by more than is allowed."""

    exit_code = 16
