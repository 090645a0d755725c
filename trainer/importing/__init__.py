"""Other people's labels → a dataset folder: one format per file, one writer (`writing.py`) for all of them.

A format's file yields a `LabelledPicture` for each picture. The writer copies pictures, writes masks and the manifest,
and draws a preview. So what every import promises (whole or absent, checked, previewed) is kept in one place.
"""
