"""TensorBoard's event files, written with TensorFlow alone: TensorBoard itself is needed only to look at them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge.errors import StoreError

FOLDER = "tensorboard"


class EventLog:
    """Appends the figures of an epoch as scalars, at the number of steps. Raises StoreError."""

    def __init__(self, folder: Path) -> None:
        import tensorflow as tf

        self._folder = folder
        try:
            self._writer: Any = tf.summary.create_file_writer(str(folder))
        except tf.errors.OpError as error:
            raise self._unwritable(error) from error

    def write(self, figures: Mapping[str, float], step: int) -> None:
        """Write and flush one row of figures by name."""
        import tensorflow as tf

        # tf.summary.scalar writes this; that function itself comes with TensorBoard
        kind = tf.compat.v1.SummaryMetadata(
            plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars"),
            data_class="DATA_CLASS_SCALAR",
        )
        try:
            with self._writer.as_default():
                for name, value in figures.items():
                    tf.summary.write(name, tf.constant(value, tf.float32), step=step, metadata=kind)
            self._writer.flush()
        except tf.errors.OpError as error:
            raise self._unwritable(error) from error

    def close(self) -> None:
        """Close the file."""
        self._writer.close()

    def _unwritable(self, error: Exception) -> StoreError:
        return StoreError(f"{self._folder} cannot be written: {error}. Free some space and go on with --resume")
