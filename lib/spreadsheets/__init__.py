"""Tables as people save them: CSV of any separator and encoding, and Excel workbooks, read as text with their faults.

`read_table` gives the cells as text, the line of each row, and what is wrong with the table's form, each fault with
its line and its remedy; it never raises for what is in the file. `fault_lines` turns faults into sentences.
`normalise_name` and `column_name` tell whether two names are meant to be one. Manifests of micrographs and answer
sheets are read by it. It stands on pandas and openpyxl, and knows nothing of the other packages.
"""

# ruff: noqa: F401, I001 - one line of exports after the other
from spreadsheets.tables import LFS_POINTER, TABLES, Fault, column_name, fault_lines
from spreadsheets.tables import normalise_name, number, read_table, shortened
