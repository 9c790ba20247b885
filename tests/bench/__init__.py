"""What the server costs: measured on a real process, printed as one table, judged by nobody but the reader."""
