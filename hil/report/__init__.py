"""Reports: tables, and one self-contained HTML page with plots."""
