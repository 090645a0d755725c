"""Kept pictures, judged again by a bundle or settings: on this machine, or on several with Ray."""
