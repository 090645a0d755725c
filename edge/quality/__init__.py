"""Whether a picture is good enough to be judged: focus, exposure, glare, motion blur, and a camera that was moved."""
