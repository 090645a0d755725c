"""Learning from good parts alone: a frozen encoder, a memory of what good parts look like, and how far a part is off.

It is PatchCore as a 1 x 1 convolution. So a bundle keeps the graph contract, and every engine runs it. Source: Roth et
al., "Towards Total Recall in Industrial Anomaly Detection", 2022, arXiv 2106.08265.
"""
