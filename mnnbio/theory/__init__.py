"""The moment theory of circuits: feed-forward, recurrent, averaged over populations, and in time."""
