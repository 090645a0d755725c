"""The colours of classes, in id order, for those who choose none: (red, green, blue), 0-255."""

# Told apart by most people; classes beyond these begin again.
COLOURS = ((230, 25, 75), (255, 225, 25), (0, 130, 200), (245, 130, 48), (145, 30, 180), (70, 240, 240), (60, 180, 75))
