"""Who sees what was decided: the preview, and the files of a replay."""
