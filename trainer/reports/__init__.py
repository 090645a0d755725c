"""Pages, sheets and plots for people."""
