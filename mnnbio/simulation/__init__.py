"""What surrounds a simulation: sharing it among machines, estimates, results, C++ projects."""
