"""The quality of pictures that are to be judged: focus, exposure, glare, motion blur, and a camera that was moved."""
