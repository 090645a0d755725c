"""Parts: which frames show which part, what each part comes to, and what many parts come to. Pure; time comes in."""
