"""The reason why a file is no picture that can be used."""


class NotReadableError(ValueError):
    """A file that is no picture, is damaged, or would have to be guessed at. The text says why, for people."""
