"""Training on a workstation: pictures with masks → a bundle whose thresholds were fitted on others."""
