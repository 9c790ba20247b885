"""Benchmarks: measured on a real process, printed as tables, and judged by the reader."""
