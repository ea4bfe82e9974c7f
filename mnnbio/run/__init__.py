"""Run folders: the whole way from data to report, in steps that are kept and continued."""
