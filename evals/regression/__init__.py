"""`make floors`: measures the data sets and compares with the least they must reach."""
