"""Append-only Parquet tables of runs: schema, writer, DuckDB views, maintenance."""
