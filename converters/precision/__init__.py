"""FP16 and INT8: which nodes compute in what, decided by defects."""
